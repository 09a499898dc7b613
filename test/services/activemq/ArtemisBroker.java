import java.io.File;
import org.apache.activemq.artemis.core.config.impl.SecurityConfiguration;
import org.apache.activemq.artemis.core.server.embedded.EmbeddedActiveMQ;
import org.apache.activemq.artemis.spi.core.security.ActiveMQJAASSecurityManager;
import org.apache.activemq.artemis.spi.core.security.jaas.InVMLoginModule;

/**
 * Artemis with a configuration file and the accounts that follow it: FILE [USER PASSWORD ROLE,ROLE]...
 */
public class ArtemisBroker {
  public static void main(String[] args) throws Exception {
    SecurityConfiguration accounts = new SecurityConfiguration();
    for (int at = 1; at < args.length; at += 3) {
      accounts.addUser(args[at], args[at + 1]);
      for (String role : args[at + 2].split(",")) accounts.addRole(args[at], role);
    }
    EmbeddedActiveMQ broker = new EmbeddedActiveMQ();
    broker.setConfigResourcePath(new File(args[0]).toURI().toString());
    broker.setSecurityManager(new ActiveMQJAASSecurityManager(InVMLoginModule.class.getName(), accounts));
    broker.start();
    Runtime.getRuntime().addShutdownHook(new Thread(() -> {
      try {
        broker.stop();
      } catch (Exception error) {
        error.printStackTrace();
      }
    }));
    System.out.println("READY");
  }
}
