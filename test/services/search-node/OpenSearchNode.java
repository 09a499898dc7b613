import org.codelibs.opensearch.runner.OpenSearchRunner;

/** OpenSearch of one node: DIRECTORY HTTP_PORT TRANSPORT_PORT MAX_CONTENT_LENGTH. */
public class OpenSearchNode {
  public static void main(String[] args) throws Exception {
    OpenSearchRunner runner = new OpenSearchRunner();
    runner.onBuild((number, settings) -> {
      settings.put("network.host", "127.0.0.1");
      settings.put("http.port", args[1]);
      settings.put("transport.port", args[2]);
      settings.put("http.max_content_length", args[3]);
      settings.put("thread_pool.write.queue_size", "200");
      settings.put("cluster.routing.allocation.disk.threshold_enabled", "false");
    }).build(OpenSearchRunner.newConfigs().basePath(args[0]).numOfNode(1).clusterName("plugboard-test").useLogger().disableESLogger());
    runner.ensureYellow();
    System.out.println("READY");
    Thread.currentThread().join();
  }
}
