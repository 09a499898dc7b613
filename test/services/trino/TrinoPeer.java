import com.google.inject.Key;
import io.trino.plugin.memory.MemoryPlugin;
import io.trino.server.security.PasswordAuthenticatorManager;
import io.trino.server.testing.TestingTrinoServer;
import io.trino.spi.security.AccessDeniedException;
import io.trino.spi.security.BasicPrincipal;
import java.util.HashMap;
import java.util.Map;

/** A coordinator with the catalog `memory`: port [tls-port pem user password]; with TLS a log-in is needed there. */
public class TrinoPeer {
  public static void main(String[] args) throws Exception {
    Map<String, String> properties = new HashMap<>();
    properties.put("http-server.http.port", args[0]);
    if (args.length > 1) {
      properties.put("http-server.https.enabled", "true");
      properties.put("http-server.https.port", args[1]);
      properties.put("http-server.https.keystore.path", args[2]);
      properties.put("http-server.authentication.type", "PASSWORD");
      // It must exist, and is not read: the authenticator is set below.
      properties.put("password-authenticator.config-files", args[2]);
      properties.put("http-server.authentication.allow-insecure-over-http", "true");
    }
    TestingTrinoServer server = new TestingTrinoServer.Builder().setProperties(properties).build();
    if (args.length > 1)
      server
          .getInstance(Key.get(PasswordAuthenticatorManager.class))
          .setAuthenticators(
              (user, password) -> {
                if (!user.equals(args[3]) || !password.equals(args[4]))
                  throw new AccessDeniedException("Invalid credentials");
                return new BasicPrincipal(user);
              });
    server.installPlugin(new MemoryPlugin());
    server.createCatalog("memory", "memory", Map.of("memory.max-data-per-node", "64MB"));
    System.out.println("TrinoPeer is ready");
    Thread.currentThread().join();
  }
}
