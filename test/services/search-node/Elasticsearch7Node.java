import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.transport.Netty4Plugin;

/** Elasticsearch 7 of one node: DIRECTORY HTTP_PORT TRANSPORT_PORT MAX_CONTENT_LENGTH. */
public class Elasticsearch7Node extends Node {
  Elasticsearch7Node(Environment environment) {
    super(environment, List.of(Netty4Plugin.class), false);
  }

  public static void main(String[] args) throws Exception {
    Settings settings = Settings.builder()
        .put("path.home", args[0])
        .put("cluster.name", "plugboard-test")
        .put("node.name", "node-1")
        .put("discovery.type", "single-node")
        .put("network.host", "127.0.0.1")
        .put("http.port", args[1])
        .put("transport.port", args[2])
        .put("http.max_content_length", args[3])
        .put("thread_pool.write.queue_size", "200")
        .put("cluster.routing.allocation.disk.threshold_enabled", "false")
        .build();
    Environment environment = InternalSettingsPreparer.prepareEnvironment(
        settings, Map.of(), Path.of(args[0], "config"), () -> "node-1");
    new Elasticsearch7Node(environment).start();
    System.out.println("READY");
    Thread.currentThread().join();
  }
}
