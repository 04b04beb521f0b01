import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;
import optim.Optim;
import optim.Optim.DType;
import optim.Optim.Json;
import optim.Optim.Tensor;

/** The tests that need no harness: {@code java -cp build OptimTest}. */
final class OptimTest {
    private static final Map<String, Tensor> ODD = Map.of(
            "größe/\"q\"\\\n\u0001<&>😀", Tensor.scalar(-0.5f),
            "empty", Tensor.of(new float[0], 0, 3),
            "wide", Tensor.of(new double[] {1, Double.NEGATIVE_INFINITY}, 2, 1),
            "narrow", Tensor.of(new float[] {Float.MIN_VALUE, 2, 3}),
            "bf16", new Tensor(DType.BF16, new int[] {2}, new short[] {0x3f80, 0x7fc1}),
            "f16", new Tensor(DType.F16, new int[] {1, 1}, new short[] {0x3c00}),
            "rows", new Tensor(DType.I64, new int[] {2}, new long[] {-1, Long.MAX_VALUE}),
            "int8", new Tensor(DType.I8, new int[] {3}, new byte[] {-128, 0, 127}),
            "large", Tensor.of(new float[100_001]));

    @FunctionalInterface
    private interface Handler {
        void handle(HttpExchange exchange) throws IOException, InterruptedException;
    }

    @FunctionalInterface
    interface Action {
        void run() throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        tensorsSurviveSafetensors();
        tensorsThatFitNoShapeAreNotMade();
        malformedFilesAreRefused();
        jsonSurvives();
        malformedJsonIsRefused();
        aStepBringsMetricsAndUntouchedParameters();
        anAnswerWithoutASentParameterIsNone();
        stepsOfOneSessionTakeTurnsOnOneConnection();
        anInterruptedStepEndsAtOnceAndMayBeRepeated();
        aRefusalIsReadBeforeTheBodyIsSent();
        aPageIsNoAnswer();
        whatCannotBeSentIsNotTriedAgain();
        System.out.println("passed");
    }

    private static void check(boolean right, Object said) {
        if (!right) {
            throw new AssertionError(said);
        }
    }

    private static void fails(Class<? extends Exception> kind, Action action) throws Exception {
        try {
            action.run();
        } catch (Exception error) {
            check(kind.isInstance(error), error);
            return;
        }
        throw new AssertionError("no " + kind.getSimpleName());
    }

    private static boolean same(Map<String, Tensor> a, Map<String, Tensor> b) {
        return a.keySet().equals(b.keySet()) && a.keySet().stream().allMatch(name -> a.get(name).dtype() == b.get(name).dtype()
                && Arrays.equals(a.get(name).shape(), b.get(name).shape())
                && Arrays.deepEquals(new Object[] {a.get(name).data()}, new Object[] {b.get(name).data()}));
    }

    private static void tensorsSurviveSafetensors() throws Exception {
        var file = new Optim.File(ODD, Map.of("a", "\"\n😀", "b", ""));
        Path first = Files.createTempFile("optim", "");
        Path second = Files.createTempFile("optim", "");
        file.write(first);
        file.write(second);
        check(Files.mismatch(first, second) < 0, "the same content has other bytes");
        Optim.File read = Optim.File.read(first);
        check(same(read.tensors(), ODD), read);
        check(read.metadata().equals(file.metadata()), read.metadata());
        Files.delete(first);
        Files.delete(second);
    }

    private static void tensorsThatFitNoShapeAreNotMade() throws Exception {
        fails(IllegalArgumentException.class, () -> Tensor.of(new float[2], 3));
        fails(IllegalArgumentException.class, () -> Tensor.of(new float[1], -1, -1));
        fails(IllegalArgumentException.class, () -> new Tensor(DType.F64, new int[] {1}, new float[1]));
        fails(IllegalArgumentException.class, () -> Tensor.of(new float[0], 1 << 16, 1 << 16, 1 << 16, 1 << 16));
        Path file = Files.createTempFile("optim", "");
        fails(IllegalArgumentException.class, () -> new Optim.File(Map.of("\ud800", Tensor.scalar(1)), Map.of()).write(file));
        Files.delete(file);
    }

    private static void malformedFilesAreRefused() throws Exception {
        Path file = Files.createTempFile("optim", "");
        for (String header : List.of("", "[]", "{", "{\"w\": 1}", "{}",
                "{\"w\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 8]}}",
                "{\"w\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [4, 12]}}",
                "{\"w\": {\"dtype\": \"F8\", \"shape\": [1], \"data_offsets\": [0, 4]}}",
                "{\"w\": {\"dtype\": \"F32\", \"shape\": [-1], \"data_offsets\": [0, -4]}}",
                "{\"w\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 8]}}",
                "{\"w\": {\"dtype\": \"F64\", \"shape\": [2147483647], \"data_offsets\": [0, 17179869176]}}",
                "{\"w\": {\"dtype\": \"F32\", \"shape\": [65536, 65537], \"data_offsets\": [0, 4]}}",
                "{\"w\": {\"dtype\": \"F32\", \"shape\": 1, \"data_offsets\": [0, 4]}}",
                "{\"w\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0]}}", "{\"__metadata__\": {\"a\": 1}}")) {
            byte[] text = header.getBytes(StandardCharsets.UTF_8);
            Files.write(file, ByteBuffer.allocate(12 + text.length).order(ByteOrder.LITTLE_ENDIAN).putLong(text.length)
                    .put(text).array());
            fails(IOException.class, () -> Optim.File.read(file));
        }
        Files.delete(file);
    }

    private static void jsonSurvives() {
        String text = "{\"a\":[1,-2.5,1.0E300,true,false,null,{}],\"größe\\\"\\\\\\u000a😀\":[]}";
        check(Json.write(Json.read(text)).equals(text), Json.write(Json.read(text)));
        check(Json.read(" [ \"\\u00e9\\/\\n\" , 1e2 ] ").equals(List.of("é/\n", 100.0)), "escapes");
    }

    private static void malformedJsonIsRefused() throws Exception {
        for (String text : List.of("", "[", "[1,]", "{\"a\"}", "{\"a\":1,}", "\"a", "tru", "1 2", "\"\\u12", "\"\\uxxxx\"", "-",
                "[".repeat(100_000))) {
            fails(RuntimeException.class, () -> Json.read(text));
        }
        fails(IllegalArgumentException.class, () -> Json.write(Double.NaN));
    }

    /** Serves a session whose steps are handled by a function. */
    private static void serve(Handler step, ThrowingConsumer test) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        var threads = Executors.newCachedThreadPool();
        server.setExecutor(threads);
        server.createContext("/", exchange -> {
            exchange.getResponseHeaders().set("Content-Type", "application/json");
            try {
                if (exchange.getRequestURI().getPath().endsWith("/steps")) {
                    step.handle(exchange);
                } else {
                    exchange.getRequestBody().readAllBytes();
                    answer(exchange, 201, "{\"id\": \"s\", \"step\": 0, \"digest\": \"\"}".getBytes(StandardCharsets.UTF_8));
                }
            } catch (InterruptedException error) {
                exchange.close(); // the test is over
            }
        });
        server.start();
        try {
            String url = "http://127.0.0.1:" + server.getAddress().getPort();
            test.accept(Optim.builder(url).maxRetries(0).build().create("sgd", Map.of()));
        } finally {
            server.stop(0);
            threads.shutdownNow();
        }
    }

    @FunctionalInterface
    private interface ThrowingConsumer {
        void accept(Optim.Session session) throws Exception;
    }

    private static void answer(HttpExchange exchange, int status, byte[] body) throws IOException {
        exchange.sendResponseHeaders(status, body.length);
        exchange.getResponseBody().write(body);
        exchange.getResponseBody().flush();
        exchange.getRequestBody().readAllBytes(); // or the connection would be reset
        exchange.close();
    }

    /** Takes a step whose new parameters are the gradients. */
    private static void step(HttpExchange exchange) throws IOException {
        step(exchange, false);
    }

    private static void step(HttpExchange exchange, boolean renamed) throws IOException {
        Path file = Files.createTempFile("optim", "");
        Files.write(file, exchange.getRequestBody().readAllBytes());
        Optim.File sent = Optim.File.read(file);
        Map<String, Tensor> params = new HashMap<>();
        sent.tensors().forEach((name, tensor) -> {
            if (name.startsWith("grads/")) {
                params.put((renamed ? name + "?" : name).replaceFirst("grads", "params"), tensor);
            }
        });
        new Optim.File(params, Map.of("step", sent.metadata().get("step"), "skipped", "false", "digest", "d", "metrics",
                "{\"lr\": 0.1, \"grad_norm\": \"NaN\", \"update_norm\": \"Infinity\", \"param_norm\": \"-Infinity\","
                + " \"clip_scale\": 1}")).write(file);
        exchange.getResponseHeaders().set("Content-Type", "application/vnd.safetensors");
        answer(exchange, 200, Files.readAllBytes(file));
        Files.delete(file);
    }

    private static void aStepBringsMetricsAndUntouchedParameters() throws Exception {
        serve(OptimTest::step, session -> {
            Map<String, Tensor> params = Map.of("w", Tensor.scalar(1), "frozen", Tensor.scalar(3));
            var answer = session.step(params, Map.of("w", Tensor.scalar(2)), new Optim.StepOptions().loss(Double.NaN));
            check(answer.metrics().equals(new Optim.Metrics(0.1, Double.NaN, Double.POSITIVE_INFINITY,
                    Double.NEGATIVE_INFINITY, 1)), answer.metrics());
            check(same(answer.params(), Map.of("w", Tensor.scalar(2), "frozen", Tensor.scalar(3))), answer.params());
            check(session.info().step() == 1, session.info());
        });
    }

    private static void anAnswerWithoutASentParameterIsNone() throws Exception {
        serve(exchange -> step(exchange, true), session -> {
            Map<String, Tensor> params = Map.of("w", Tensor.scalar(1));
            fails(Optim.InvalidAnswerException.class, () -> session.step(params, params));
            check(session.info().step() == 0, session.info());
        });
        serve(OptimTest::step, session -> fails(Optim.InvalidAnswerException.class, () -> session.step(
                Map.of("w", Tensor.scalar(1)), Map.of("w", Tensor.of(new float[1])))));
    }

    private static void stepsOfOneSessionTakeTurnsOnOneConnection() throws Exception {
        Set<InetSocketAddress> connections = ConcurrentHashMap.newKeySet();
        List<Throwable> errors = new ArrayList<>();
        serve(exchange -> {
            connections.add(exchange.getRemoteAddress());
            step(exchange);
        }, session -> {
            List<Thread> threads = new ArrayList<>();
            for (int i = 0; i < 8; i++) {
                threads.add(new Thread(() -> {
                    try {
                        session.step(null, ODD);
                    } catch (InterruptedException | RuntimeException error) {
                        errors.add(error);
                    }
                }));
            }
            threads.forEach(Thread::start);
            for (Thread thread : threads) {
                thread.join();
            }
            check(errors.isEmpty() && session.info().step() == 8, errors); // two at once would have one number
        });
        check(connections.size() == 1, connections);
    }

    private static void anInterruptedStepEndsAtOnceAndMayBeRepeated() throws Exception {
        CountDownLatch come = new CountDownLatch(1);
        CountDownLatch over = new CountDownLatch(1);
        AtomicInteger count = new AtomicInteger();
        Thread me = Thread.currentThread();
        serve(exchange -> {
            if (count.incrementAndGet() == 1) {
                me.interrupt();
                come.countDown();
                over.await();
            } else {
                step(exchange);
            }
        }, session -> {
            fails(InterruptedException.class, () -> session.step(null, ODD));
            check(!Thread.interrupted(), "still interrupted");
            check(session.step(null, ODD).step() == 1, session.info());
            over.countDown();
        });
    }

    private static void aRefusalIsReadBeforeTheBodyIsSent() throws Exception {
        serve(exchange -> answer(exchange, 413, "{\"code\": \"body_too_large\", \"detail\": \"long\", \"limit\": 10}".getBytes(
                StandardCharsets.UTF_8)), session -> {
            try {
                session.step(null, Map.of("w", Tensor.of(new float[1 << 20])));
                throw new AssertionError("not refused");
            } catch (Optim.StatusException error) {
                check(error.code().equals("body_too_large") && error.members().equals(Map.of("limit", 10L)), error);
            }
        });
    }

    private static void aPageIsNoAnswer() throws Exception {
        serve(exchange -> {
            exchange.getResponseHeaders().set("Content-Type", "text/html");
            answer(exchange, 200, "<h1>Log in</h1>".getBytes(StandardCharsets.UTF_8));
        }, session -> fails(Optim.InvalidAnswerException.class, () -> session.step(null, ODD)));
    }

    private static void whatCannotBeSentIsNotTriedAgain() throws Exception {
        fails(IllegalArgumentException.class, () -> new Optim("localhost:8000").get("s"));
        fails(IllegalArgumentException.class, () -> new Optim("http://[").get("s"));
        try {
            Optim.builder("http://localhost").apiKey("secret\n").build().get("s");
            throw new AssertionError("sent a key with a line break");
        } catch (IllegalArgumentException error) {
            check(!error.toString().contains("secret"), error);
        }
    }
}
