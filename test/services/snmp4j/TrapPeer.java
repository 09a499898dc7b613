import org.snmp4j.CommandResponderEvent;
import org.snmp4j.MessageDispatcherImpl;
import org.snmp4j.PDU;
import org.snmp4j.Snmp;
import org.snmp4j.mp.MPv3;
import org.snmp4j.mp.StatusInformation;
import org.snmp4j.security.*;
import org.snmp4j.security.nonstandard.*;
import org.snmp4j.smi.*;
import org.snmp4j.transport.DefaultUdpTransportMapping;

/** Acknowledges INFORMs and prints every notification; privacy by 3DES and both forms of AES. */
public class TrapPeer {
  public static void main(String[] arguments) throws Exception {
    OctetString pass1 = new OctetString(arguments[1]);
    OctetString pass2 = new OctetString(arguments[2]);
    SecurityProtocols protocols = SecurityProtocols.getInstance();
    protocols.addDefaultProtocols();
    for (PrivacyProtocol privacy :
        new PrivacyProtocol[] {
          new Priv3DES(), new PrivAES192With3DESKeyExtension(), new PrivAES256With3DESKeyExtension()
        }) protocols.addPrivacyProtocol(privacy);
    protocols.addAuthenticationProtocol(new AuthMD5());
    protocols.addAuthenticationProtocol(new AuthSHA());
    protocols.addAuthenticationProtocol(new AuthHMAC192SHA256());
    USM usm = new USM(protocols, new OctetString(MPv3.createLocalEngineID()), 3);
    SecurityModels.getInstance().addSecurityModel(usm);
    Object[][] auths = {{"MD5", AuthMD5.ID}, {"SHA", AuthSHA.ID}, {"SHA256", AuthHMAC192SHA256.ID}};
    Object[][] privs = {
      {"Priv3DES", Priv3DES.ID},
      {"PrivAES192", PrivAES192.ID},
      {"PrivAES256", PrivAES256.ID},
      {"PrivAES192with3DES", PrivAES192With3DESKeyExtension.ID},
      {"PrivAES256with3DES", PrivAES256With3DESKeyExtension.ID}
    };
    for (Object[] auth : auths)
      for (Object[] priv : privs) {
        OctetString name = new OctetString(auth[0] + "-" + priv[0]);
        usm.addUser(name, new UsmUser(name, (OID) auth[1], pass1, (OID) priv[1], pass2));
      }
    MessageDispatcherImpl dispatcher = new MessageDispatcherImpl();
    dispatcher.addMessageProcessingModel(new MPv3(usm));
    Snmp snmp =
        new Snmp(
            dispatcher, new DefaultUdpTransportMapping(new UdpAddress("127.0.0.1/" + arguments[0])));
    snmp.addCommandResponder(
        new org.snmp4j.CommandResponder() {
          public <A extends Address> void processPdu(CommandResponderEvent<A> event) {
            PDU pdu = event.getPDU();
            if (pdu == null) return;
            System.out.println(
                PDU.getTypeString(pdu.getType())
                    + " "
                    + new OctetString(event.getSecurityName())
                    + " "
                    + pdu.get(2).getVariable());
            if (pdu.getType() != PDU.INFORM) return;
            pdu.setType(PDU.RESPONSE);
            try {
              event
                  .getMessageDispatcher()
                  .returnResponsePdu(
                      event.getMessageProcessingModel(),
                      event.getSecurityModel(),
                      event.getSecurityName(),
                      event.getSecurityLevel(),
                      pdu,
                      event.getMaxSizeResponsePDU(),
                      event.getStateReference(),
                      new StatusInformation());
            } catch (Exception error) {
              System.out.println(error);
            }
          }
        });
    snmp.listen();
    System.out.println("ready");
    Thread.currentThread().join();
  }
}
