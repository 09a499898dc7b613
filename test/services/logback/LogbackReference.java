import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.LoggerContext;
import ch.qos.logback.classic.PatternLayout;
import ch.qos.logback.classic.encoder.PatternLayoutEncoder;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.classic.spi.LoggingEvent;
import ch.qos.logback.classic.spi.ThrowableProxy;
import ch.qos.logback.core.rolling.RollingFileAppender;
import ch.qos.logback.core.rolling.SizeAndTimeBasedFileNamingAndTriggeringPolicy;
import ch.qos.logback.core.rolling.TimeBasedRollingPolicy;
import ch.qos.logback.core.util.FileSize;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.AbstractExecutorService;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.TimeUnit;

/**
 * Logback itself, told what to do by lines of tab-separated fields on its input; text is base64 of UTF-8.
 * layout pattern message level logger thread time key value throws → base64 of the line, or !.
 * roll    pattern maxFileBytes maxHistory totalBytes startTime, then
 * at      time message (any number), then end → the number of lines, or ! when it did not start.
 * bench   pattern filePattern count message → nanoseconds.
 */
public class LogbackReference {
  /** Compresses and cleans in the same thread, so that what is there after a step is certain. */
  static class Context extends LoggerContext {
    private final ExecutorService direct =
        new AbstractExecutorService() {
          public void execute(Runnable work) {
            work.run();
          }

          public void shutdown() {}

          public List<Runnable> shutdownNow() {
            return List.of();
          }

          public boolean isShutdown() {
            return false;
          }

          public boolean isTerminated() {
            return false;
          }

          public boolean awaitTermination(long time, TimeUnit unit) {
            return true;
          }
        };

    @Override
    public synchronized ExecutorService getAlternateExecutorService() {
      return direct;
    }

    @Override
    public synchronized ExecutorService getExecutorService() {
      return direct;
    }
  }

  static String text(String base64) {
    return new String(Base64.getDecoder().decode(base64), StandardCharsets.UTF_8);
  }

  static LoggingEvent event(
      Context context, String message, String level, String logger, String thread, long time, Map<String, String> mdc) {
    LoggingEvent event = new LoggingEvent();
    context.setName("default");
    event.setLoggerContextRemoteView(context.getLoggerContextRemoteView());
    event.setMessage(message);
    event.setLevel(Level.valueOf(level));
    event.setLoggerName(logger);
    event.setThreadName(thread);
    event.setTimeStamp(time);
    event.setMDCPropertyMap(mdc);
    return event;
  }

  static Throwable failure() {
    Exception cause = new IllegalArgumentException("inner");
    cause.setStackTrace(
        new StackTraceElement[] {
          new StackTraceElement("com.example.Inner", "go", "Inner.java", 7),
          new StackTraceElement("com.example.Outer", "run", "Outer.java", 42),
          new StackTraceElement("com.example.Main", "main", "Main.java", 3)
        });
    Exception outer = new IllegalStateException("broken", cause);
    outer.setStackTrace(
        new StackTraceElement[] {
          new StackTraceElement("com.example.Outer", "fail", "Outer.java", 44),
          new StackTraceElement("com.example.Outer", "run", "Outer.java", 43),
          new StackTraceElement("com.example.Main", "main", "Main.java", 3)
        });
    return outer;
  }

  static RollingFileAppender<ILoggingEvent> appender(
      Context context, String linePattern, String pattern, long maxFileBytes, int maxHistory, long totalBytes, long startTime) {
    RollingFileAppender<ILoggingEvent> appender = new RollingFileAppender<>();
    appender.setContext(context);
    TimeBasedRollingPolicy<ILoggingEvent> policy = new TimeBasedRollingPolicy<>();
    policy.setContext(context);
    policy.setParent(appender);
    policy.setFileNamePattern(pattern);
    policy.setMaxHistory(maxHistory);
    policy.setTotalSizeCap(new FileSize(totalBytes));
    SizeAndTimeBasedFileNamingAndTriggeringPolicy<ILoggingEvent> naming =
        new SizeAndTimeBasedFileNamingAndTriggeringPolicy<>();
    naming.setContext(context);
    naming.setMaxFileSize(new FileSize(maxFileBytes));
    if (startTime >= 0) naming.setCurrentTime(startTime);
    policy.setTimeBasedFileNamingAndTriggeringPolicy(naming);
    policy.start();
    PatternLayoutEncoder encoder = new PatternLayoutEncoder();
    encoder.setContext(context);
    encoder.setCharset(StandardCharsets.UTF_8);
    encoder.setPattern(linePattern);
    encoder.start();
    appender.setEncoder(encoder);
    appender.setRollingPolicy(policy);
    appender.start();
    return appender;
  }

  public static void main(String[] arguments) throws Exception {
    BufferedReader input =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    PrintStream output = new PrintStream(System.out, false, "UTF-8");
    RollingFileAppender<ILoggingEvent> rolling = null;
    Context rollingContext = null;
    int lines = 0;
    for (String line = input.readLine(); line != null; line = input.readLine()) {
      String[] fields = line.split("\t", -1);
      switch (fields[0]) {
        case "layout":
          {
            String result;
            try {
              Context context = new Context();
              PatternLayout layout = new PatternLayout();
              layout.setContext(context);
              layout.setPattern(text(fields[1]));
              layout.start();
              LoggingEvent event =
                  event(context, text(fields[2]), fields[3], text(fields[4]), text(fields[5]), Long.parseLong(fields[6]),
                      fields[7].isEmpty() ? Map.of() : new HashMap<>(Map.of(text(fields[7]), text(fields[8]))));
              if (fields[9].equals("1")) event.setThrowableProxy(new ThrowableProxy(failure()));
              result =
                  layout.isStarted()
                      ? Base64.getEncoder().encodeToString(layout.doLayout(event).getBytes(StandardCharsets.UTF_8))
                      : "!";
            } catch (RuntimeException error) {
              result = "!";
            }
            output.println(result);
            break;
          }
        case "roll":
          rollingContext = new Context();
          lines = 0;
          try {
            rolling =
                appender(
                    rollingContext,
                    "%m%n",
                    text(fields[1]),
                    Long.parseLong(fields[2]),
                    Integer.parseInt(fields[3]),
                    Long.parseLong(fields[4]),
                    Long.parseLong(fields[5]));
          } catch (RuntimeException error) {
            rolling = null;
          }
          break;
        case "at":
          if (rolling == null || !rolling.isStarted()) break;
          ((SizeAndTimeBasedFileNamingAndTriggeringPolicy<?>)
                  ((TimeBasedRollingPolicy<?>) rolling.getRollingPolicy())
                      .getTimeBasedFileNamingAndTriggeringPolicy())
              .setCurrentTime(Long.parseLong(fields[1]));
          rolling.doAppend(event(rollingContext, text(fields[2]), "INFO", "l", "t", Long.parseLong(fields[1]), Map.of()));
          lines++;
          break;
        case "end":
          output.println(rolling == null || !rolling.isStarted() ? "!" : lines);
          if (rolling != null) rolling.stop();
          break;
        case "bench":
          {
            Context context = new Context();
            RollingFileAppender<ILoggingEvent> appender =
                appender(context, text(fields[1]), text(fields[2]), 1L << 40, 0, 0, -1);
            int count = Integer.parseInt(fields[3]);
            String message = text(fields[4]);
            long best = Long.MAX_VALUE;
            for (int round = 0; round < 3; round++) {
              long startedAt = System.nanoTime();
              for (int i = 0; i < count; i++)
                appender.doAppend(event(context, message, "INFO", "com.example.Gateway", "main", System.currentTimeMillis(), Map.of()));
              best = Math.min(best, System.nanoTime() - startedAt);
            }
            appender.stop();
            output.println(best);
            break;
          }
        default:
          throw new IllegalArgumentException(fields[0]);
      }
    }
    output.flush();
  }
}
