import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.ServerVersion;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import java.io.ByteArrayInputStream;
import java.lang.reflect.Field;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;

/** mongo-java-server in memory: port [certificate.pem key.pem]. */
public class MongoPeer {
  public static void main(String[] args) throws Exception {
    // It speaks what later servers do, but says less of itself than drivers of today take.
    Field wireVersion = ServerVersion.class.getDeclaredField("wireVersion");
    wireVersion.setAccessible(true);
    wireVersion.setInt(ServerVersion.MONGO_5_0, 9);
    MongoServer server = new MongoServer(new MemoryBackend().version(ServerVersion.MONGO_5_0));
    if (args.length > 1) {
      byte[] certificate = Files.readAllBytes(Path.of(args[1]));
      String key = Files.readString(Path.of(args[2])).replaceAll("-----[A-Z ]+-----|\\s", "");
      server.enableSsl(
          KeyFactory.getInstance("RSA").generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(key))),
          null,
          (X509Certificate)
              CertificateFactory.getInstance("X.509").generateCertificate(new ByteArrayInputStream(certificate)));
    }
    server.bind("127.0.0.1", Integer.parseInt(args[0]));
    Thread.currentThread().join();
  }
}
