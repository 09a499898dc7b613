import java.util.Enumeration;
import java.util.TreeMap;
import javax.jms.*;
import org.apache.activemq.ActiveMQConnectionFactory;
import org.apache.activemq.command.ActiveMQQueue;

/**
 * The other end of the OpenWire tests, by ActiveMQ's own client.
 *
 * receive URL USER PASSWORD QUEUE COUNT: prints each message, its text in base64.
 * send URL USER PASSWORD QUEUE TEXT: sends one message of each kind, one with TEXT as a property, and
 * compressed ones.
 */
public class JmsPeer {
  public static void main(String[] args) throws Exception {
    ActiveMQConnectionFactory factory = new ActiveMQConnectionFactory(args[2], args[3], args[1]);
    Connection connection = factory.createConnection();
    connection.start();
    Session session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
    Destination queue = new ActiveMQQueue(args[4]);
    if (args[0].equals("receive")) receive(session, queue, Integer.parseInt(args[5]));
    else send(session, queue, args[5]);
    connection.close();
    factory.setUseCompression(true);
    if (args[0].equals("send")) sendCompressed(factory, queue);
  }

  static void receive(Session session, Destination queue, int count) throws Exception {
    MessageConsumer consumer = session.createConsumer(queue);
    for (int at = 0; at < count; at++) {
      Message message = consumer.receive(20000);
      if (message == null) throw new JMSException("no message " + at);
      String kind = "other";
      byte[] bytes = {};
      if (message instanceof TextMessage) {
        kind = "text";
        bytes = ((TextMessage) message).getText().getBytes("UTF-8");
      } else if (message instanceof BytesMessage) {
        kind = "bytes";
        bytes = new byte[(int) ((BytesMessage) message).getBodyLength()];
        ((BytesMessage) message).readBytes(bytes);
      }
      TreeMap<String, String> properties = new TreeMap<>();
      for (Enumeration<?> names = message.getPropertyNames(); names.hasMoreElements(); ) {
        String name = (String) names.nextElement();
        // What the client or the broker adds.
        if (name.startsWith("JMSX") || name.startsWith("__AMQ")) continue;
        Object value = message.getObjectProperty(name);
        properties.put(name, value == null ? "null" : value.getClass().getSimpleName() + "=" + base64(value.toString().getBytes("UTF-8")));
      }
      Destination replyTo = message.getJMSReplyTo();
      long ttl = message.getJMSExpiration() == 0 ? 0 : message.getJMSExpiration() - message.getJMSTimestamp();
      System.out.println(String.join("|",
          kind, base64(bytes), message.getJMSMessageID(), String.valueOf(message.getJMSCorrelationID()),
          replyTo == null ? "null" : ((Queue) replyTo).getQueueName(), String.valueOf(message.getJMSType()),
          String.valueOf(message.getJMSPriority()), String.valueOf(message.getJMSDeliveryMode()),
          String.valueOf(ttl), properties.toString()));
    }
  }

  static void send(Session session, Destination queue, String property) throws Exception {
    MessageProducer producer = session.createProducer(queue);
    TextMessage text = session.createTextMessage("Grüße \uD83D\uDC07\u0000 aus Java");
    text.setStringProperty("text", property);
    text.setIntProperty("whole", 7);
    text.setLongProperty("long", 1L << 40);
    text.setLongProperty("huge", Long.MAX_VALUE);
    text.setShortProperty("short", (short) -3);
    text.setByteProperty("byte", (byte) -4);
    text.setDoubleProperty("fraction", 1.5);
    text.setFloatProperty("float", 0.25f);
    text.setBooleanProperty("on", true);
    text.setJMSCorrelationID("c-1");
    text.setJMSReplyTo(new ActiveMQQueue("replies"));
    text.setJMSType("order.created");
    producer.send(text, DeliveryMode.NON_PERSISTENT, 8, 60000);
    BytesMessage bytes = session.createBytesMessage();
    bytes.writeBytes(new byte[] {0, -1, -2});
    producer.send(bytes);
    MapMessage map = session.createMapMessage();
    map.setString("name", "value");
    map.setInt("number", 42);
    producer.send(map);
    producer.send(session.createMessage());
    producer.send(session.createObjectMessage("object"));
  }

  static void sendCompressed(ActiveMQConnectionFactory factory, Destination queue) throws Exception {
    Connection connection = factory.createConnection();
    Session session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
    MessageProducer producer = session.createProducer(queue);
    producer.send(session.createTextMessage("compressed ".repeat(100)));
    BytesMessage bytes = session.createBytesMessage();
    bytes.writeBytes("squeezed ".repeat(100).getBytes("UTF-8"));
    producer.send(bytes);
    connection.close();
  }

  static String base64(byte[] bytes) {
    return java.util.Base64.getEncoder().encodeToString(bytes);
  }
}
