import javax.security.sasl.AuthenticationException;
import org.apache.hadoop.hive.conf.HiveConf;
import org.apache.hive.service.auth.PasswdAuthenticationProvider;
import org.apache.hive.service.server.HiveServer2;

/** HiveServer2 as the hive-site.xml of its class path says; `Account` lets in the one of the environment. */
public class HivePeer {
  public static class Account implements PasswdAuthenticationProvider {
    @Override
    public void Authenticate(String user, String password) throws AuthenticationException {
      if (!user.equals(System.getenv("HIVE_PEER_USER")) || !password.equals(System.getenv("HIVE_PEER_PASSWORD")))
        throw new AuthenticationException("the account is not known");
    }
  }

  public static void main(String[] args) throws Exception {
    HiveServer2 server = new HiveServer2();
    server.init(new HiveConf());
    server.start();
    System.out.println("HivePeer is ready");
    Thread.currentThread().join();
  }
}
