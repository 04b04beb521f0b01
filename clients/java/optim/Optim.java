package optim;

import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.lang.reflect.Array;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpHeaders;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodySubscriber;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.security.cert.CertificateException;
import java.time.DateTimeException;
import java.time.Duration;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.UUID;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.Flow;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.ReentrantLock;
import java.util.stream.Collectors;

/**
 * The Java client of Optim Service, an optimizer that is called over HTTP. You send parameters and gradients, and get the
 * new parameters back. Every step is durable and applied exactly once.
 *
 * <pre>{@code
 * var session = new Optim("http://127.0.0.1:8000").create("adamw", Map.of());
 * params = session.step(params, grads).params();
 * }</pre>
 *
 * <p>A call that fails but may succeed later is tried again, for 120 seconds unless told otherwise, so a training loop
 * outlives a restart of the service. Repeating is safe: all tries of a call carry one idempotency key. An interrupt ends a
 * call with {@link InterruptedException}.
 *
 * <p>One client serves many threads, which share its connections.
 */
public final class Optim {
    private static final double FIRST_WAIT = 0.5;
    private static final double LONGEST_WAIT = 4;
    private static final double LONGEST_RETRY_AFTER = 120; // without a limit of time
    private static final Duration CONNECT_TIMEOUT = Duration.ofSeconds(5);
    private static final Duration PROGRESS_TIMEOUT = Duration.ofSeconds(60);
    private static final long SLOWEST_BYTES_PER_SECOND = 1 << 20;
    private static final int MOST_WARNINGS = 100;
    private static final String SAFETENSORS = "application/vnd.safetensors";
    private static final String JSON = "application/json";
    private static final String REQUEST_ID_PREFIX = "optim-client-";
    private static final Logger LOG = System.getLogger("optim");

    private final String base;
    private final String key;
    private final HttpClient http;
    private final double retrySeconds;
    private final int maxRetries;
    private final Clock clock;
    private final String name = REQUEST_ID_PREFIX + UUID.randomUUID().toString().replace("-", "").substring(16);
    private final AtomicLong count = new AtomicLong();

    /** Makes a client of the service at a URL, with the other defaults of {@link Builder}. */
    public Optim(String url) {
        this(builder(url));
    }

    private Optim(Builder from) {
        base = from.url.replaceFirst("/+$", "");
        key = from.apiKey;
        if (key != null && key.chars().anyMatch(Character::isISOControl)) { // the JDK's own error would show the key
            throw new IllegalArgumentException("the API key has a line break or another control character");
        }
        http = from.http != null ? from.http : HttpClient.newBuilder()
                .version(HttpClient.Version.HTTP_1_1).connectTimeout(CONNECT_TIMEOUT).build();
        retrySeconds = from.retrySeconds;
        maxRetries = from.maxRetries;
        clock = from.clock;
    }

    /** Returns a builder of a client with other options. */
    public static Builder builder(String url) {
        return new Builder(url);
    }

    /**
     * The options of a client. The environment has two defaults: {@code OPTIM_BASE_URL} for a URL that is null, or else
     * {@code http://127.0.0.1:8000}, and {@code OPTIM_API_KEY}.
     */
    public static final class Builder {
        private final String url;
        private String apiKey = System.getenv("OPTIM_API_KEY");
        private HttpClient http;
        private double retrySeconds = 120;
        private int maxRetries = Integer.MAX_VALUE;
        private Clock clock = new Clock() { };

        private Builder(String url) {
            this.url = url != null ? url : System.getenv().getOrDefault("OPTIM_BASE_URL", "http://127.0.0.1:8000");
        }

        /** Sets the key. */
        public Builder apiKey(String key) {
            apiKey = key;
            return this;
        }

        /** Sets the HTTP client, for example for a proxy or certificates of your own. It should not follow redirects. */
        public Builder http(HttpClient client) {
            http = client;
            return this;
        }

        /** Sets for how long a call is tried again since its first failure; infinity sets no limit. */
        public Builder retrySeconds(double seconds) {
            retrySeconds = seconds;
            return this;
        }

        /** Limits the number of retries, beside their time. */
        public Builder maxRetries(int retries) {
            maxRetries = retries;
            return this;
        }

        /** Replaces the time and chance that retries go by, for tests. */
        public Builder clock(Clock other) {
            clock = other;
            return this;
        }

        /** Returns the client. */
        public Optim build() {
            return new Optim(this);
        }
    }

    /** What retries go by. */
    public interface Clock {
        /** Returns seconds since any moment. */
        default double now() {
            return System.nanoTime() / 1e9;
        }

        /** Waits. */
        default void sleep(double seconds) throws InterruptedException {
            TimeUnit.NANOSECONDS.sleep((long) (seconds * 1e9));
        }

        /** Returns a number from 0 to 1, by which share of its half a wait is shortened. */
        default double chance() {
            return ThreadLocalRandom.current().nextDouble();
        }
    }

    /** Creates a session. Settings are those of {@code docs/api.md}; those not given have the service's defaults. */
    public Session create(String optimizer, Map<String, ?> settings) throws InterruptedException {
        Map<String, Object> all = new LinkedHashMap<>(settings);
        all.put("optimizer", optimizer);
        return session(Request.write("POST", "/v1/sessions", Body.json(all)));
    }

    /** Creates a session from a state file that {@link Session#saveState} has written. */
    public Session createFromState(Path file) throws IOException, InterruptedException {
        return session(Request.write("POST", "/v1/sessions", Body.file(file)));
    }

    /** Finds a session, to go on with its run. */
    public Session get(String id) throws InterruptedException {
        if (Set.of("", ".", "..").contains(id)) {
            throw new IllegalArgumentException("a session's id cannot be '" + id + "'");
        }
        return session(Request.get(sessionPath(id)));
    }

    /**
     * Makes any other call, with JSON, such as {@code GET /v1/sessions?limit=10}. A call that changes something is done
     * once, whatever its number of tries.
     *
     * @param body a map, or null for none
     */
    public JsonAnswer call(String method, String path, Map<String, ?> body) throws InterruptedException {
        Body sent = body == null ? Body.NONE : Body.json(body);
        Request request = method.equals("GET") ? Request.get(path) : Request.write(method, path, sent);
        return perform(request, answer -> {
            byte[] text = answer.body().readAll();
            return new JsonAnswer(answer.statusCode(), text.length == 0 ? null : Json.read(text));
        });
    }

    /** An answer in JSON: its objects are maps, its arrays lists, its numbers Long or Double. */
    public record JsonAnswer(int status, Object body) { }

    private Session session(Request request) throws InterruptedException {
        return perform(request, answer -> {
            Session session = new Session(Info.read(answer));
            session.tag(request, answer.headers());
            return session;
        });
    }

    private static String sessionPath(String id) {
        return "/v1/sessions/" + URLEncoder.encode(id, StandardCharsets.UTF_8).replace("+", "%20");
    }

    /** One training run's optimizer, which the service keeps. Threads may share it: its calls take turns. */
    public final class Session {
        private final ReentrantLock turn = new ReentrantLock();
        private final Set<String> shown = new HashSet<>();
        private volatile Info info;
        private String etag; // null: not known

        private Session(Info info) {
            this.info = info;
        }

        /** Returns the session's id. */
        public String id() {
            return info.id();
        }

        /** Returns what this client knows of the session: step and digest follow every step. */
        public Info info() {
            return info;
        }

        /** Takes one optimizer step, with the defaults of {@link StepOptions}. */
        public Answer step(Map<String, Tensor> params, Map<String, Tensor> grads) throws InterruptedException {
            return step(params, grads, new StepOptions());
        }

        /**
         * Takes one optimizer step. A parameter without a gradient is not stepped, and comes back as it is. After a
         * {@link NoAnswerException} or an {@link InterruptedException}, call it again with the same arguments: the step
         * is applied once, whatever happened. Do not change the arrays until it returns.
         *
         * @param params null where the session holds its parameters
         */
        public Answer step(Map<String, Tensor> params, Map<String, Tensor> grads, StepOptions options)
                throws InterruptedException {
            return inTurn(() -> {
                long number = options.number != null ? options.number : info.step() + 1;
                Request request = Request.write("POST", path("/steps"), options.body(number, params, grads));
                if (options.minimal) {
                    request.headers().put("Prefer", "return=minimal");
                }
                Answer answer = perform(request, tagged(request, it -> Answer.read(it, number, params, grads)));
                if (params != null) {
                    params.forEach(answer.params()::putIfAbsent);
                }
                info = info.at(answer.step(), answer.digest());
                show(answer);
                return answer;
            });
        }

        private void show(Answer answer) {
            for (String warning : answer.warnings()) {
                String text = warning.replaceFirst("^step \\d+: ", "");
                if (shown.size() < MOST_WARNINGS && shown.add(text)) {
                    LOG.log(Level.WARNING, "session " + id() + ", step " + answer.step() + ": " + text);
                }
            }
        }

        /** Reads the session again, for example after a {@code step_conflict}. */
        public Info refresh() throws InterruptedException {
            return inTurn(() -> reread(Request.get(path(""))));
        }

        /**
         * Changes settings from the next step on, if the session is still as this client knows it. A null restores a
         * default.
         */
        public Info update(Map<String, ?> changes) throws InterruptedException {
            return inTurn(() -> {
                long step = info.step();
                Info changed = reread(Request.write("PATCH", path(""), Body.json(changes)));
                info = changed.at(step, changed.digest()); // the caller's parameters belong to no other client's step
                return info;
            });
        }

        /** Takes the last step back, to the bit. The session must have been created with {@code undo}. */
        public Info undo() throws InterruptedException {
            return inTurn(() -> reread(Request.write("POST", path("/undo"), Body.json(Map.of("step", info.step())))));
        }

        /** Creates a session in the same state. Settings may be {@code labels} and {@code ttl_seconds}. */
        public Session fork(Map<String, ?> settings) throws InterruptedException {
            return inTurn(() -> session(Request.write("POST", path("/fork"), Body.json(settings))));
        }

        /** Returns the parameters of a session that holds them. */
        public Map<String, Tensor> params() throws InterruptedException {
            return inTurn(() -> send(Request.get(path("/params")), answer -> File.read(answer).below("params/")));
        }

        /** Gives its parameters to a session that holds them, if it is still as this client knows it. */
        public void putParams(Map<String, Tensor> params) throws InterruptedException {
            Body body = new File(prefixed("params/", params), Map.of()).body();
            inTurn(() -> send(Request.write("PUT", path("/params"), body), HttpResponse::statusCode));
        }

        /** Downloads the whole state into a file, which is replaced wholly or not at all. */
        public void saveState(Path file) throws IOException, InterruptedException {
            Path folder = file.toAbsolutePath().getParent();
            Path part = Files.createTempFile(folder, "." + file.getFileName() + "-", ".part");
            try {
                inTurn(() -> send(Request.get(path("/state")), answer -> {
                    try (var out = FileChannel.open(part, StandardOpenOption.WRITE, StandardOpenOption.TRUNCATE_EXISTING)) {
                        byte[] block = new byte[1 << 16];
                        for (int n; (n = answer.body().read(block, 0, block.length)) >= 0; ) {
                            out.write(ByteBuffer.wrap(block, 0, n));
                        }
                        out.force(true);
                    }
                    return null;
                }));
                Files.move(part, file, StandardCopyOption.ATOMIC_MOVE);
            } catch (UncheckedIOException error) {
                throw error.getCause();
            } finally {
                Files.deleteIfExists(part);
            }
        }

        /** Uploads a state file into this session as it is now. It goes on from the step in the file. */
        public Info loadState(Path file) throws IOException, InterruptedException {
            Body body = Body.file(file);
            return inTurn(() -> {
                reread(Request.get(path("")));
                send(Request.write("PUT", path("/state"), body), HttpResponse::statusCode);
                return reread(Request.get(path("")));
            });
        }

        /** Deletes the session as it is now, with its state and its history. */
        public void delete() throws InterruptedException {
            inTurn(() -> {
                reread(Request.get(path("")));
                return send(Request.write("DELETE", path(""), Body.NONE), HttpResponse::statusCode);
            });
        }

        private String path(String below) {
            return sessionPath(id()) + below;
        }

        private <T> T inTurn(Action<T> action) throws InterruptedException {
            turn.lockInterruptibly();
            try {
                return action.run();
            } finally {
                turn.unlock();
            }
        }

        /** Makes a call. A change has an If-Match, so that a first try that arrives late does no harm. */
        private <T> T send(Request request, Reader<T> reader) throws InterruptedException {
            if (etag != null && !request.method().equals("GET")) {
                request.headers().put("If-Match", etag);
            }
            return perform(request, tagged(request, reader));
        }

        private Info reread(Request request) throws InterruptedException {
            info = send(request, Info::read);
            return info;
        }

        private <T> Reader<T> tagged(Request request, Reader<T> reader) {
            return answer -> {
                T result = reader.read(answer);
                tag(request, answer.headers());
                return result;
            };
        }

        /** Remembers the ETag of an answer, but not a weak one, which no If-Match can use. */
        private void tag(Request request, HttpHeaders headers) {
            Optional<String> strong = headers.firstValue("ETag").filter(tag -> tag.startsWith("\""));
            if (strong.isPresent() || !request.method().equals("GET")) {
                etag = strong.orElse(null);
            }
        }
    }

    @FunctionalInterface
    private interface Action<T> {
        T run() throws InterruptedException;
    }

    /** A session as the service describes it: {@code members} has all of it, the others are taken from there. */
    public record Info(String id, long step, String digest, Map<String, Object> members) {
        private static Info read(HttpResponse<Incoming> answer) throws IOException, InterruptedException {
            Map<String, Object> all = object(Json.read(answer.body().readAll()));
            String id = Objects.requireNonNull((String) all.get("id"), "a session's id is missing");
            return new Info(id, (Long) all.get("step"), (String) all.get("digest"), all);
        }

        private Info at(long newStep, String newDigest) {
            return new Info(id, newStep, newDigest, members);
        }
    }

    /**
     * What the service answers to a step. With {@code skipped}, a gradient was not finite and nothing was changed. New
     * warnings, about what may be wrong although the step was taken, are also logged.
     */
    public record Answer(Map<String, Tensor> params, long step, boolean skipped, String digest, String paramsDigest,
                         Metrics metrics, List<String> warnings) {
        private static Answer read(HttpResponse<Incoming> answer, long number, Map<String, Tensor> params,
                                   Map<String, Tensor> grads) throws IOException, InterruptedException {
            File file = File.read(answer);
            Map<String, String> said = file.metadata();
            boolean skipped = Boolean.parseBoolean(said.get("skipped"));
            long step = Long.parseLong(said.get("step"));
            if (step != (skipped ? number - 1 : number)) {
                throw new MalformedException("unexpected step " + step + "; expected " + number + ", which was sent");
            }
            Map<String, Tensor> stepped = file.below("params/");
            for (String name : params == null ? Set.<String>of() : grads.keySet()) {
                Tensor sent = params.get(name);
                Tensor got = stepped.get(name);
                if (got == null || got.dtype != sent.dtype || !Arrays.equals(got.shape, sent.shape)) {
                    throw new MalformedException("the parameter '" + name + "' did not come in its dtype and shape");
                }
            }
            Metrics metrics = Metrics.read(object(Json.read(said.get("metrics"))));
            List<String> warnings = ((List<?>) Json.read(said.getOrDefault("warnings", "[]"))).stream()
                    .map(String.class::cast).toList();
            return new Answer(stepped, step, skipped, said.get("digest"), said.get("params_digest"), metrics,
                    warnings);
        }
    }

    /** The numbers of a step. They may be NaN or infinite. */
    public record Metrics(double lr, double gradNorm, double updateNorm, double paramNorm, double clipScale) {
        private static Metrics read(Map<String, Object> said) {
            return new Metrics(number(said.get("lr")), number(said.get("grad_norm")), number(said.get("update_norm")),
                    number(said.get("param_norm")), number(said.get("clip_scale")));
        }

        private static double number(Object said) {
            return said instanceof Number number ? number.doubleValue() : Double.parseDouble((String) said);
        }
    }

    /** Options of one step. */
    public static final class StepOptions {
        private final Map<String, String> metadata = new TreeMap<>();
        private final Map<String, Tensor> beside = new HashMap<>();
        private boolean minimal;
        private Long number; // null: the next one

        /** Records a loss in the session's history. */
        public StepOptions loss(double loss) {
            return with("loss", Double.toString(loss));
        }

        /** Replaces the scheduled learning rate. */
        public StepOptions lr(double lr) {
            return with("lr", Double.toString(lr));
        }

        /** Divides the gradients before they are checked, for a loss that was scaled. */
        public StepOptions gradScale(double scale) {
            return with("grad_scale", Double.toString(scale));
        }

        /** Replaces hyperparameters. */
        public StepOptions overrides(Map<String, ?> overrides) {
            return with("overrides", Json.write(overrides));
        }

        /**
         * Gives the step's number, where a program that crashed sends its last step again: with the same arguments, it
         * gets the answer that it lost. Otherwise it is the next one.
         */
        public StepOptions number(long step) {
            number = step;
            return this;
        }

        /** Asks for an answer without parameters, from a session that holds them. */
        public StepOptions withoutParams() {
            minimal = true;
            return this;
        }

        /**
         * Adds tensors of another kind to the gradients: {@code rows} for gradients of some rows, {@code at} and {@code
         * scale} for compressed ones.
         */
        public StepOptions beside(String kind, Map<String, Tensor> tensors) {
            beside.putAll(prefixed(kind + "/", tensors));
            return this;
        }

        private StepOptions with(String member, String value) {
            metadata.put(member, value);
            return this;
        }

        private Body body(long number, Map<String, Tensor> params, Map<String, Tensor> grads) {
            if (grads.isEmpty()) {
                throw new IllegalArgumentException("a step needs a gradient");
            }
            Map<String, Tensor> all = new HashMap<>(beside);
            all.putAll(prefixed("grads/", grads));
            if (params != null) {
                Map<String, Tensor> sent = new HashMap<>(params);
                sent.keySet().retainAll(grads.keySet());
                all.putAll(prefixed("params/", sent));
            }
            Map<String, String> said = new TreeMap<>(metadata);
            said.put("step", Long.toString(number));
            return new File(all, said).body();
        }
    }

    private static Map<String, Tensor> prefixed(String prefix, Map<String, Tensor> tensors) {
        return tensors.entrySet().stream().collect(Collectors.toMap(it -> prefix + it.getKey(), Map.Entry::getValue));
    }

    /** The root of the errors. */
    public abstract static class OptimException extends RuntimeException {
        private static final long serialVersionUID = 1;

        private OptimException(String message, Throwable cause) {
            super(message, cause);
        }
    }

    /** The service refused. */
    public static final class StatusException extends OptimException {
        private static final long serialVersionUID = 1;
        private final int status;
        private final String code;
        private final String detail;
        private final transient Map<String, Object> members;
        private final transient HttpHeaders headers;

        private StatusException(int status, String code, String detail, Map<String, Object> members, HttpHeaders headers) {
            super(detail + " (" + status + (code == null ? "" : " " + code)
                    + headers.firstValue("X-Request-ID").map(id -> ", request " + id).orElse("") + ")", null);
            this.status = status;
            this.code = code;
            this.detail = detail;
            this.members = members;
            this.headers = headers;
        }

        private static StatusException read(int status, HttpHeaders headers, byte[] body) {
            Map<String, Object> problem = new LinkedHashMap<>();
            try {
                problem.putAll(object(Json.read(body)));
            } catch (MalformedException error) {
                problem.clear(); // something else answered
            }
            String code = problem.get("code") instanceof String said ? said : null;
            String detail = problem.get("detail") instanceof String said ? said
                    : headers.firstValue("Location").map(to -> "a redirect, which a client does not follow, to " + to)
                    .orElseGet(() -> "a proxy answered, not the service: '"
                            + excerpt(new String(body, StandardCharsets.UTF_8)) + "'");
            problem.keySet().removeAll(Set.of("type", "title", "status", "detail", "code"));
            return new StatusException(status, code, detail, problem, headers);
        }

        /** Returns the status. */
        public int status() {
            return status;
        }

        /** Returns the code, which names the reason; null where something else answered, such as a proxy. */
        public String code() {
            return code;
        }

        /** Returns the reason in words. */
        public String detail() {
            return detail;
        }

        /** Returns the further members of the problem, such as {@code tensor} or {@code current_step}. */
        public Map<String, Object> members() {
            return members;
        }

        /** Returns what finds the request in the service's log, or null. */
        public String requestId() {
            return headers.firstValue("X-Request-ID").orElse(null);
        }
    }

    /** No answer came, after all retries. The service may have made the change: make the same call again. */
    public static final class NoAnswerException extends OptimException {
        private static final long serialVersionUID = 1;

        private NoAnswerException(Request request, IOException cause) {
            super(request + ": no answer: " + (cause instanceof LostException ? cause.getMessage() : cause), cause);
        }
    }

    /** A success cannot be read: does the URL lead to an Optim Service? */
    public static final class InvalidAnswerException extends OptimException {
        private static final long serialVersionUID = 1;

        private InvalidAnswerException(Request request, Throwable cause) {
            super(request + ": the answer cannot be read: " + cause.getMessage(), cause);
        }
    }

    /** The rest of an answer did not come. */
    private static final class LostException extends IOException {
        private static final long serialVersionUID = 1;

        private LostException(String message, Throwable cause) {
            super(message, cause);
        }
    }

    private static final class MalformedException extends RuntimeException {
        private static final long serialVersionUID = 1;

        private MalformedException(String message) {
            super(message);
        }
    }

    private static String excerpt(String body) {
        String text = body.strip().replaceAll("\\s+", " ");
        return text.substring(0, Math.min(200, text.length()));
    }

    /** A request, which is the same in all its tries. */
    private record Request(String method, String path, Map<String, String> headers, Body body) {
        private static Request get(String path) {
            Map<String, String> headers = new LinkedHashMap<>();
            headers.put("Accept", SAFETENSORS + ", application/json, application/problem+json");
            return new Request("GET", path, headers, Body.NONE);
        }

        private static Request write(String method, String path, Body body) {
            Request request = new Request(method, path, get(path).headers, body);
            if (body.mediaType() != null) {
                request.headers.put("Content-Type", body.mediaType());
            }
            request.headers.put("Idempotency-Key", '"' + UUID.randomUUID().toString() + '"');
            return request;
        }

        @Override
        public String toString() {
            return method + " " + path;
        }
    }

    /** A body, which can be published again with each try. */
    private record Body(String mediaType, BodyPublisher publisher) {
        private static final Body NONE = new Body(null, BodyPublishers.noBody());

        private static Body json(Map<String, ?> value) {
            return new Body(JSON, BodyPublishers.ofString(Json.write(value)));
        }

        private static Body file(Path file) throws IOException {
            return new Body(SAFETENSORS, BodyPublishers.ofFile(file));
        }
    }

    @FunctionalInterface
    private interface Reader<T> {
        T read(HttpResponse<Incoming> answer) throws IOException, InterruptedException;
    }

    /** Makes a call, with retries. */
    private <T> T perform(Request request, Reader<T> reader) throws InterruptedException {
        double failed = 0;
        for (int tries = 1; ; tries++) {
            try {
                T result = attempt(request, tries, reader);
                if (tries > 1) {
                    LOG.log(Level.WARNING, "%s: answered at try %d, %.1f s after the first failure".formatted(request, tries,
                            clock.now() - failed));
                }
                return result;
            } catch (StatusException | NoAnswerException error) {
                failed = tries == 1 ? clock.now() : failed;
                double wait = tries > maxRetries ? -1 : pause(error, tries, retrySeconds - (clock.now() - failed));
                if (wait < 0) {
                    throw error;
                }
                if (tries == 1) {
                    LOG.log(Level.WARNING, error.getMessage() + "; trying again");
                }
                clock.sleep(wait);
            }
        }
    }

    /** Returns the seconds until the next try, or -1 for no try. */
    private double pause(OptimException error, int tries, double left) {
        if (left <= 0 || !mayPass(error)) {
            return -1;
        }
        double wait = Math.min(FIRST_WAIT * Math.pow(2, tries - 1), LONGEST_WAIT) * (1 - clock.chance() / 2);
        double asked = error instanceof StatusException refused ? retryAfter(refused.headers) : -1;
        if (asked < 0) {
            return Math.min(wait, left);
        }
        if (asked > (Double.isInfinite(left) ? LONGEST_RETRY_AFTER : left)) {
            return -1;
        }
        return tries == 1 ? asked : Math.min(Math.max(asked, wait), left); // a Retry-After of 0 is no busy loop
    }

    private static boolean mayPass(OptimException error) {
        if (!(error instanceof StatusException refused)) {
            return !isUntrusted(error);
        }
        String said = refused.headers.firstValue("X-Should-Retry").orElse("");
        if (said.equals("true") || said.equals("false")) {
            return said.equals("true");
        }
        return switch (refused.status) {
            case 409 -> "session_busy".equals(refused.code);
            case 408, 429 -> true;
            case 501, 505 -> false;
            default -> refused.status >= 500;
        };
    }

    private static boolean isUntrusted(Throwable error) {
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            if (cause instanceof CertificateException) {
                return true;
            }
        }
        return false;
    }

    /** Returns the seconds of Retry-After, or -1. A date counts from the answer's own, so that clocks do not matter. */
    private static double retryAfter(HttpHeaders headers) {
        String said = headers.firstValue("Retry-After").orElse("");
        if (said.matches("[0-9]+")) {
            return Double.parseDouble(said);
        }
        try {
            Duration wait = Duration.between(date(headers.firstValue("Date").orElse("")), date(said));
            return Math.max(0, wait.toSeconds());
        } catch (DateTimeException error) {
            return -1;
        }
    }

    private static ZonedDateTime date(String text) {
        if (!text.endsWith("GMT")) {
            throw new DateTimeException("not in GMT: " + text);
        }
        return ZonedDateTime.parse(text, DateTimeFormatter.RFC_1123_DATE_TIME);
    }

    /** Makes one attempt, and reads its answer whole: half an answer is none. */
    private <T> T attempt(Request request, int tries, Reader<T> reader) throws InterruptedException {
        String id = name + "-" + count.incrementAndGet();
        long seconds = PROGRESS_TIMEOUT.toSeconds()
                + Math.max(0, request.body.publisher().contentLength()) / SLOWEST_BYTES_PER_SECOND;
        HttpRequest.Builder sent = HttpRequest.newBuilder(URI.create(base + request.path))
                .method(request.method, request.body.publisher()).timeout(Duration.ofSeconds(seconds));
        request.headers.forEach(sent::header);
        sent.header("X-Request-ID", id);
        if (key != null) {
            sent.header("Authorization", "Bearer " + key);
        }
        HttpResponse<Incoming> answer;
        try {
            answer = http.send(sent.build(), about -> new Incoming());
        } catch (IOException error) {
            throw new NoAnswerException(request, error);
        }
        try {
            String got = answer.headers().firstValue("X-Request-ID").orElse("");
            if (got.startsWith(REQUEST_ID_PREFIX) && !got.equals(id)) {
                throw new LostException("the answer to another request came, " + got + " instead of " + id, null);
            }
            return read(request, tries, answer, reader);
        } catch (LostException error) {
            throw new NoAnswerException(request, error);
        } catch (IOException error) {
            throw new UncheckedIOException(error); // a file's
        } finally {
            answer.body().close();
        }
    }

    private static <T> T read(Request request, int tries, HttpResponse<Incoming> answer, Reader<T> reader)
            throws IOException, InterruptedException {
        int status = answer.statusCode();
        boolean deleted = status == 404 && request.method.equals("DELETE") && tries > 1; // by an earlier try
        if (status / 100 != 2 && !deleted) {
            throw StatusException.read(status, answer.headers(), answer.body().readAll());
        }
        try {
            String kind = answer.headers().firstValue("Content-Type").orElse("");
            if (kind.startsWith("text/")) {
                String page = new String(answer.body().readAll(), StandardCharsets.UTF_8);
                throw new MalformedException("a page came (" + kind + "): '" + excerpt(page) + "'");
            }
            return reader.read(answer);
        } catch (MalformedException | ClassCastException | NullPointerException | NumberFormatException error) {
            throw new InvalidAnswerException(request, error);
        }
    }

    /** The body of an answer as it comes. It waits for the next bytes at most as long as {@code PROGRESS_TIMEOUT}. */
    private static final class Incoming implements BodySubscriber<Incoming> {
        private static final Object END = new Object();

        private final BlockingQueue<Object> queue = new LinkedBlockingQueue<>(); // lists of buffers, an error, or END
        private final CompletableFuture<Flow.Subscription> subscription = new CompletableFuture<>();
        private Iterator<ByteBuffer> buffers = List.<ByteBuffer>of().iterator();
        private ByteBuffer buffer = ByteBuffer.allocate(0);
        private boolean ended;

        @Override
        public CompletionStage<Incoming> getBody() {
            return CompletableFuture.completedFuture(this);
        }

        @Override
        public void onSubscribe(Flow.Subscription given) {
            subscription.complete(given);
            given.request(1);
        }

        @Override
        public void onNext(List<ByteBuffer> some) {
            queue.add(some);
        }

        @Override
        public void onError(Throwable error) {
            queue.add(error);
        }

        @Override
        public void onComplete() {
            queue.add(END);
        }

        /** Reads some bytes; returns their number, or -1 at the end. */
        private int read(byte[] into, int from, int most) throws IOException, InterruptedException {
            while (!buffer.hasRemaining()) {
                if (ended) {
                    return -1;
                } else if (buffers.hasNext()) {
                    buffer = buffers.next();
                } else {
                    receive();
                }
            }
            int n = Math.min(most, buffer.remaining());
            buffer.get(into, from, n);
            return n;
        }

        @SuppressWarnings("unchecked")
        private void receive() throws IOException, InterruptedException {
            Object next = queue.poll(PROGRESS_TIMEOUT.toSeconds(), TimeUnit.SECONDS);
            if (next == null) {
                throw new LostException("nothing came for " + PROGRESS_TIMEOUT.toSeconds() + " s", null);
            } else if (next == END) {
                ended = true;
            } else if (next instanceof Throwable error) {
                throw new LostException("half an answer came: " + error.getMessage(), error);
            } else {
                buffers = ((List<ByteBuffer>) next).iterator();
                subscription.join().request(1);
            }
        }

        /** Reads into the rest of an array, as far as the answer goes; returns how far. */
        private int fill(byte[] into, int from, int end) throws IOException, InterruptedException {
            for (int n; from < end && (n = read(into, from, end - from)) >= 0; ) {
                from += n;
            }
            return from;
        }

        private byte[] readAll() throws IOException, InterruptedException {
            byte[] all = new byte[1 << 12];
            int have = 0;
            while ((have = fill(all, have, all.length)) == all.length) {
                all = Arrays.copyOf(all, 2 * all.length);
            }
            return Arrays.copyOf(all, have);
        }

        /** Lets the connection go; one that has not brought the whole answer is closed. */
        private void close() {
            subscription.thenAccept(Flow.Subscription::cancel);
        }
    }

    /** The types of elements: four of parameters and gradients, I64 of indices, and I8 of gradients with a scale. */
    public enum DType {
        F64(8), F32(4), F16(2), BF16(2), I64(8), I8(1);

        private final int size;

        DType(int size) {
            this.size = size;
        }
    }

    /**
     * An array of any shape, row by row.
     *
     * @param shape empty for a scalar
     * @param data a double[], float[], short[] (the bits of F16 and BF16), long[] or byte[], which is not copied
     */
    public record Tensor(DType dtype, int[] shape, Object data) {
        /** Checks that the elements fit the shape. */
        public Tensor {
            boolean fits = switch (dtype) {
                case F64 -> data instanceof double[];
                case F32 -> data instanceof float[];
                case F16, BF16 -> data instanceof short[];
                case I64 -> data instanceof long[];
                case I8 -> data instanceof byte[];
            };
            if (!fits || Array.getLength(data) != elements(shape)) {
                throw new IllegalArgumentException(data.getClass().getSimpleName() + " data do not fit " + dtype + " "
                        + Arrays.toString(shape));
            }
        }

        /** Returns a tensor of F32 that shares its memory with data; without a shape it is a vector. */
        public static Tensor of(float[] data, int... shape) {
            return new Tensor(DType.F32, shape.length == 0 ? new int[] {data.length} : shape, data);
        }

        /** Returns a tensor of F64 that shares its memory with data; without a shape it is a vector. */
        public static Tensor of(double[] data, int... shape) {
            return new Tensor(DType.F64, shape.length == 0 ? new int[] {data.length} : shape, data);
        }

        /** Returns a tensor of F32 of shape []. */
        public static Tensor scalar(float x) {
            return new Tensor(DType.F32, new int[0], new float[] {x});
        }

        /** Returns the elements of a tensor of F32. */
        public float[] floats() {
            return (float[]) data;
        }

        /** Returns the elements of a tensor of F64. */
        public double[] doubles() {
            return (double[]) data;
        }

        private static Tensor zeros(DType dtype, int[] shape, int length) {
            return new Tensor(dtype, shape, switch (dtype) {
                case F64 -> new double[length];
                case F32 -> new float[length];
                case F16, BF16 -> new short[length];
                case I64 -> new long[length];
                case I8 -> new byte[length];
            });
        }

        private int length() {
            return Array.getLength(data);
        }

        /** Returns the number of elements of a shape, or -1 if it has none. */
        private static long elements(int[] shape) {
            long length = 1;
            for (int each : shape) {
                length *= each;
                if (each < 0 || length > Integer.MAX_VALUE) {
                    return -1;
                }
            }
            return length;
        }

        /** Copies elements into a block. */
        private void get(int from, int count, ByteBuffer into) {
            switch (dtype) {
                case F64 -> into.asDoubleBuffer().put((double[]) data, from, count);
                case F32 -> into.asFloatBuffer().put((float[]) data, from, count);
                case F16, BF16 -> into.asShortBuffer().put((short[]) data, from, count);
                case I64 -> into.asLongBuffer().put((long[]) data, from, count);
                case I8 -> into.duplicate().put((byte[]) data, from, count);
            }
        }

        /** Copies elements from a block. */
        private void put(int at, int count, ByteBuffer from) {
            switch (dtype) {
                case F64 -> from.asDoubleBuffer().get((double[]) data, at, count);
                case F32 -> from.asFloatBuffer().get((float[]) data, at, count);
                case F16, BF16 -> from.asShortBuffer().get((short[]) data, at, count);
                case I64 -> from.asLongBuffer().get((long[]) data, at, count);
                case I8 -> from.duplicate().get((byte[]) data, at, count);
            }
        }
    }

    /** A safetensors file. Tensors have their full names, such as {@code params/w}. */
    public record File(Map<String, Tensor> tensors, Map<String, String> metadata) {
        private static final int BLOCK = 1 << 16;
        private static final long LONGEST_HEADER = 100 << 20;

        /** Reads a file. */
        public static File read(Path path) throws IOException {
            byte[] all = Files.readAllBytes(path);
            int[] at = {0};
            try {
                return read((into, from, end) -> {
                    int n = Math.min(end - from, all.length - at[0]);
                    System.arraycopy(all, at[0], into, from, n);
                    at[0] += n;
                    return from + n;
                }, all.length);
            } catch (InterruptedException error) {
                throw new AssertionError(error);
            } catch (MalformedException error) {
                throw new IOException(path + ": " + error.getMessage(), error);
            }
        }

        /** Writes a file: the same bytes for the same content. */
        public void write(Path path) throws IOException {
            try (OutputStream out = Files.newOutputStream(path)) {
                for (byte[] block : new Encoded(this)) {
                    out.write(block);
                }
            }
        }

        private Body body() {
            Encoded encoded = new Encoded(this);
            return new Body(SAFETENSORS, BodyPublishers.fromPublisher(BodyPublishers.ofByteArrays(encoded), encoded.length));
        }

        private Map<String, Tensor> below(String prefix) {
            return tensors.entrySet().stream().filter(it -> it.getKey().startsWith(prefix))
                    .collect(Collectors.toMap(it -> it.getKey().substring(prefix.length()), Map.Entry::getValue));
        }

        private static File read(HttpResponse<Incoming> answer) throws IOException, InterruptedException {
            long length = answer.headers().firstValueAsLong("Content-Length").orElse(Long.MAX_VALUE);
            return read(answer.body()::fill, length);
        }

        /** Reads at most so many bytes: a header cannot make it reserve more memory. */
        private static File read(Source source, long most) throws IOException, InterruptedException {
            long size = ByteBuffer.wrap(exactly(source, 8)).order(ByteOrder.LITTLE_ENDIAN).getLong();
            long longest = Math.min(most, LONGEST_HEADER);
            if (size < 0 || size > longest) {
                throw new MalformedException("a header of " + size + " bytes; expected at most " + longest);
            }
            Map<String, Object> header = object(Json.read(exactly(source, (int) size)));
            Map<String, String> metadata = new LinkedHashMap<>();
            if (header.remove("__metadata__") instanceof Map<?, ?> said) {
                said.forEach((name, value) -> metadata.put((String) name, text(value)));
            }
            List<Entry> entries = header.entrySet().stream().map(it -> Entry.read(it.getKey(), it.getValue())).sorted(
                    Comparator.comparingLong(Entry::start).thenComparingLong(Entry::end)).toList();
            Map<String, Tensor> tensors = new LinkedHashMap<>();
            long end = 0;
            for (Entry entry : entries) {
                if (entry.start != end || entry.end > most) {
                    throw new MalformedException("'%s' is at %d to %d; expected %d to at most %d".formatted(entry.name,
                            entry.start, entry.end, end, most));
                }
                end = entry.end;
                tensors.put(entry.name, entry.tensor(source));
            }
            if (source.fill(new byte[1], 0, 1) > 0) {
                throw new MalformedException("there are bytes behind the last tensor, which ends at " + end);
            }
            return new File(tensors, metadata);
        }

        private static String text(Object value) {
            if (value instanceof String text) {
                return text;
            }
            throw new MalformedException("expected a string in the metadata, not " + value);
        }

        private static byte[] exactly(Source source, int size) throws IOException, InterruptedException {
            byte[] bytes = new byte[size];
            if (source.fill(bytes, 0, size) < size) {
                throw new MalformedException("the header ends before its " + size + " bytes");
            }
            return bytes;
        }

        /** Bytes that come one after the other. */
        @FunctionalInterface
        private interface Source {
            /** Fills a part of an array; returns how far. */
            int fill(byte[] into, int from, int end) throws IOException, InterruptedException;
        }

        /** A tensor of a header. */
        private record Entry(String name, DType dtype, int[] shape, long start, long end) {
            private static Entry read(String name, Object said) {
                try {
                    Map<String, Object> entry = object(said);
                    DType dtype = DType.valueOf((String) entry.get("dtype"));
                    int[] shape = ((List<?>) entry.get("shape")).stream()
                            .mapToInt(it -> Math.toIntExact((Long) it)).toArray();
                    List<?> place = (List<?>) entry.get("data_offsets");
                    return new Entry(name, dtype, shape, (Long) place.get(0), (Long) place.get(1));
                } catch (RuntimeException error) {
                    throw new MalformedException("malformed entry '" + name + "': " + said);
                }
            }

            private Tensor tensor(Source source) throws IOException, InterruptedException {
                long length = (end - start) / dtype.size;
                if (length < 0 || length != Tensor.elements(shape) || (end - start) % dtype.size != 0) {
                    throw new MalformedException(name + " has " + (end - start) + " bytes, which do not fit " + dtype + " "
                            + Arrays.toString(shape));
                }
                Tensor tensor = Tensor.zeros(dtype, shape, Math.toIntExact(length));
                byte[] block = new byte[(int) Math.min(BLOCK, end - start)];
                ByteBuffer view = ByteBuffer.wrap(block).order(ByteOrder.LITTLE_ENDIAN);
                for (int at = 0; at < length; ) {
                    int count = (int) Math.min(block.length / dtype.size, length - at);
                    if (source.fill(block, 0, count * dtype.size) < count * dtype.size) {
                        throw new MalformedException("the file ends in " + name);
                    }
                    tensor.put(at, count, view);
                    at += count;
                }
                return tensor;
            }
        }

        /** The bytes of a file, made block by block from the tensors' memory. Wide elements come first: all are aligned. */
        private static final class Encoded implements Iterable<byte[]> {
            private final byte[] head;
            private final List<Tensor> order = new ArrayList<>();
            private final long length;

            private Encoded(File file) {
                Map<String, Object> header = new LinkedHashMap<>();
                if (!file.metadata.isEmpty()) {
                    header.put("__metadata__", new TreeMap<>(file.metadata));
                }
                long end = 0;
                Comparator<Map.Entry<String, Tensor>> wideFirst = Comparator.comparing(it -> -it.getValue().dtype.size);
                for (var entry : file.tensors.entrySet().stream().sorted(wideFirst.thenComparing(Map.Entry.comparingByKey()))
                        .toList()) {
                    Tensor tensor = entry.getValue();
                    long start = end;
                    end += (long) tensor.length() * tensor.dtype.size;
                    header.put(entry.getKey(), Map.of("dtype", tensor.dtype.name(), "shape",
                            Arrays.stream(tensor.shape).boxed().toList(), "data_offsets", List.of(start, end)));
                    order.add(tensor);
                }
                byte[] text = Json.write(header).getBytes(StandardCharsets.UTF_8);
                int padded = (text.length + 7) / 8 * 8;
                ByteBuffer all = ByteBuffer.allocate(8 + padded).order(ByteOrder.LITTLE_ENDIAN).putLong(padded).put(text);
                Arrays.fill(all.array(), all.position(), all.capacity(), (byte) ' ');
                head = all.array();
                length = head.length + end;
            }

            @Override
            public Iterator<byte[]> iterator() {
                return new Blocks();
            }

            private final class Blocks implements Iterator<byte[]> {
                private boolean begun;
                private int tensor;
                private int element;

                @Override
                public boolean hasNext() {
                    while (tensor < order.size() && element == order.get(tensor).length()) {
                        tensor++;
                        element = 0;
                    }
                    return !begun || tensor < order.size();
                }

                @Override
                public byte[] next() {
                    if (!hasNext()) {
                        throw new NoSuchElementException();
                    }
                    if (!begun) {
                        begun = true;
                        return head;
                    }
                    ByteBuffer block = ByteBuffer.allocate(BLOCK).order(ByteOrder.LITTLE_ENDIAN);
                    while (hasNext() && block.remaining() >= order.get(tensor).dtype.size) {
                        Tensor from = order.get(tensor);
                        int count = Math.min(block.remaining() / from.dtype.size, from.length() - element);
                        from.get(element, count, block);
                        block.position(block.position() + count * from.dtype.size);
                        element += count;
                    }
                    return block.hasRemaining() ? Arrays.copyOf(block.array(), block.position()) : block.array();
                }
            }
        }
    }

    private static Map<String, Object> object(Object value) {
        if (!(value instanceof Map)) {
            throw new MalformedException("expected an object, not " + value);
        }
        @SuppressWarnings("unchecked") // Json makes no other maps
        Map<String, Object> object = (Map<String, Object>) value;
        return object;
    }

    /** JSON: objects are maps, arrays lists, whole numbers Long, other numbers Double. */
    public static final class Json {
        private static final int DEEPEST = 500;

        private final String text;
        private int at;

        private Json(String text) {
            this.text = text;
        }

        static Object read(byte[] text) {
            return read(new String(text, StandardCharsets.UTF_8));
        }

        /** Reads a text. */
        public static Object read(String text) {
            Json json = new Json(text);
            Object value = json.value(0);
            if (json.peek() != 0) {
                throw json.malformed();
            }
            return value;
        }

        private Object value(int depth) {
            if (depth > DEEPEST) {
                throw malformed();
            }
            char next = peek();
            return switch (next) {
                case '{' -> {
                    Map<String, Object> object = new LinkedHashMap<>();
                    items('}', () -> {
                        String name = string();
                        expect(':');
                        object.put(name, value(depth + 1));
                    });
                    yield object;
                }
                case '[' -> {
                    List<Object> array = new ArrayList<>();
                    items(']', () -> array.add(value(depth + 1)));
                    yield array;
                }
                case '"' -> string();
                case 't' -> word("true", true);
                case 'f' -> word("false", false);
                case 'n' -> word("null", null);
                default -> number();
            };
        }

        private void items(char close, Runnable item) {
            at++;
            if (peek() == close) {
                at++;
                return;
            }
            for (; ; at++) {
                item.run();
                if (peek() != ',') {
                    expect(close);
                    return;
                }
            }
        }

        private String string() {
            expect('"');
            StringBuilder string = new StringBuilder();
            for (char c; (c = take()) != '"'; ) {
                string.append(c == '\\' ? escaped() : c);
            }
            return string.toString();
        }

        private char escaped() {
            char c = take();
            return switch (c) {
                case 'b' -> '\b';
                case 'f' -> '\f';
                case 'n' -> '\n';
                case 'r' -> '\r';
                case 't' -> '\t';
                case 'u' -> {
                    int code = 0;
                    for (int i = 0; i < 4; i++) {
                        int digit = Character.digit(take(), 16);
                        code = digit < 0 || code > Character.MAX_VALUE ? 1 << 16 : 16 * code + digit;
                    }
                    if (code > Character.MAX_VALUE) {
                        throw malformed();
                    }
                    yield (char) code;
                }
                default -> c;
            };
        }

        private Object number() {
            int start = at;
            while (at < text.length() && "+-.0123456789Ee".indexOf(text.charAt(at)) >= 0) {
                at++;
            }
            String number = text.substring(start, at);
            try {
                return Long.valueOf(number);
            } catch (NumberFormatException error) {
                try {
                    return Double.valueOf(number);
                } catch (NumberFormatException none) {
                    at = start;
                    throw malformed();
                }
            }
        }

        private Object word(String word, Object value) {
            if (!text.startsWith(word, at)) {
                throw malformed();
            }
            at += word.length();
            return value;
        }

        /** Returns the next character that is no space, or 0 at the end. */
        private char peek() {
            while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
                at++;
            }
            return at < text.length() ? text.charAt(at) : 0;
        }

        private void expect(char c) {
            if (peek() != c) {
                throw malformed();
            }
            at++;
        }

        private char take() {
            if (at >= text.length()) {
                throw malformed();
            }
            return text.charAt(at++);
        }

        private MalformedException malformed() {
            return new MalformedException("malformed JSON at " + at + ": " + excerpt(text.substring(at)));
        }

        /** Writes maps, iterables, strings, finite numbers, booleans and nulls. */
        public static String write(Object value) {
            StringBuilder out = new StringBuilder();
            write(value, out);
            return out.toString();
        }

        private static void write(Object value, StringBuilder out) {
            if (value instanceof Map<?, ?> map) {
                String before = "{";
                for (Map.Entry<?, ?> entry : map.entrySet()) {
                    out.append(before);
                    quote((String) entry.getKey(), out);
                    write(entry.getValue(), out.append(':'));
                    before = ",";
                }
                out.append(map.isEmpty() ? "{}" : "}");
            } else if (value instanceof Iterable<?> items) {
                out.append('[');
                String before = "";
                for (Object item : items) {
                    write(item, out.append(before));
                    before = ",";
                }
                out.append(']');
            } else if (value instanceof String string) {
                quote(string, out);
            } else if (value instanceof Number number && !Double.isFinite(number.doubleValue())) {
                throw new IllegalArgumentException("JSON has no number " + number);
            } else if (value == null || value instanceof Number || value instanceof Boolean) {
                out.append(value);
            } else {
                throw new IllegalArgumentException("JSON has no " + value.getClass().getName());
            }
        }

        private static void quote(String string, StringBuilder out) {
            if (!StandardCharsets.UTF_8.newEncoder().canEncode(string)) {
                throw new IllegalArgumentException("half a surrogate pair in '" + string + "'");
            }
            out.append('"');
            for (char c : string.toCharArray()) {
                if (c == '"' || c == '\\') {
                    out.append('\\').append(c);
                } else if (c < ' ') {
                    out.append("\\u%04x".formatted((int) c));
                } else {
                    out.append(c);
                }
            }
            out.append('"');
        }
    }
}
