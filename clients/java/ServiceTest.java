import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import optim.Optim;
import optim.Optim.DType;
import optim.Optim.StatusException;
import optim.Optim.StepOptions;
import optim.Optim.Tensor;

/** The tests with a service at {@code OPTIM_BASE_URL}: {@code java -cp build ServiceTest}. */
final class ServiceTest {
    private static final Optim CLIENT = Optim.builder(null).maxRetries(0).build();

    public static void main(String[] arguments) throws Exception {
        theServiceTakesTensorsOfEveryKind();
        aSkippedStepHasNoNumber();
        aProgramThatCrashedGetsTheLostAnswer();
        aStateGoesBackAndForth();
        aChangeNeedsTheSessionAsItIs();
        aSessionThatHoldsItsParametersServesManyThreads();
        System.out.println("passed");
    }

    private static void check(boolean right, Object said) {
        if (!right) {
            throw new AssertionError(said);
        }
    }

    private static void checkData(Tensor tensor, Object data) {
        check(Arrays.deepEquals(new Object[] {tensor.data()}, new Object[] {data}), tensor);
    }

    private static Map<String, Tensor> w(float x) {
        return Map.of("w", Tensor.scalar(x));
    }

    private static void theServiceTakesTensorsOfEveryKind() throws Exception {
        var session = CLIENT.create("sgd", Map.of("groups", List.of()));
        String odd = "größe/\"q\"\\\n\u0001<&>😀";
        Map<String, Tensor> params = new HashMap<>();
        params.put(odd, Tensor.scalar(-0.5f));
        params.put("empty", Tensor.of(new float[0], 0, 3));
        params.put("wide", Tensor.of(new double[] {1, Math.PI}, 2, 1));
        params.put("bf16", new Tensor(DType.BF16, new int[] {2}, new short[] {0x3f80, 0x4000}));
        params.put("f16", new Tensor(DType.F16, new int[] {1, 1}, new short[] {0x3c00}));
        var after = session.step(params, params, new StepOptions().loss(Double.NaN).lr(0.5)).params();
        checkData(after.get(odd), new float[] {-0.25f});
        checkData(after.get("empty"), new float[0]);
        checkData(after.get("wide"), new double[] {0.5, Math.PI / 2});
        checkData(after.get("bf16"), new short[] {0x3f00, 0x3f80});
        checkData(after.get("f16"), new short[] {0x3800});
        check(after.get(odd).shape().length == 0 && Arrays.equals(after.get("empty").shape(), new int[] {0, 3}), after);
        session.delete();
    }

    private static void aSkippedStepHasNoNumber() throws Exception {
        var session = CLIENT.create("sgd", Map.of("on_non_finite", "skip"));
        var answer = session.step(w(1), w(Float.NaN));
        check(answer.skipped() && answer.step() == 0 && Double.isNaN(answer.metrics().gradNorm()), answer);
        answer = session.step(answer.params(), w(1));
        check(!answer.skipped() && answer.step() == 1, answer);
        session.delete();
    }

    private static void aProgramThatCrashedGetsTheLostAnswer() throws Exception {
        var session = CLIENT.create("adam", Map.of());
        var lost = session.step(w(1), w(1));
        var found = CLIENT.get(session.id());
        var again = found.step(w(1), w(1), new StepOptions().number(1));
        check(again.digest().equals(lost.digest()) && found.info().step() == 1, again);
        checkData(again.params().get("w"), lost.params().get("w").data());
        var conflict = refused(() -> found.step(w(1), w(2), new StepOptions().number(1)));
        check(conflict.code().equals("step_conflict"), conflict);
        session.delete();
    }

    private static void aStateGoesBackAndForth() throws Exception {
        var session = CLIENT.create("adam", Map.of("undo", 1));
        var overrides = new StepOptions().overrides(Map.of("betas", List.of(0.5, 0.5)));
        var first = session.step(w(1), w(1));
        Path folder = Files.createTempDirectory("optim");
        Path file = folder.resolve("state.safetensors");
        session.saveState(file);
        var second = session.step(first.params(), w(1), overrides);
        check(session.undo().digest().equals(first.digest()), session.info());
        var fork = session.fork(Map.of());
        check(fork.info().digest().equals(first.digest()), fork.info());
        var again = fork.step(first.params(), w(1), overrides);
        check(again.digest().equals(second.digest()), again);
        check(fork.loadState(file).digest().equals(first.digest()), fork.info());
        var made = CLIENT.createFromState(file);
        check(made.info().digest().equals(first.digest()), made.info());
        try (var files = Files.list(folder)) {
            check(files.toList().equals(List.of(file)), "a part of a file is left");
        }
        Files.delete(file);
        Files.delete(folder);
        for (var each : List.of(session, fork, made)) {
            each.delete();
        }
    }

    private static StatusException refused(OptimTest.Action action) throws Exception {
        try {
            action.run();
        } catch (StatusException error) {
            return error;
        }
        throw new AssertionError("not refused");
    }

    private static void aChangeNeedsTheSessionAsItIs() throws Exception {
        var session = CLIENT.create("adam", Map.of());
        CLIENT.get(session.id()).update(Map.of("hyperparameters", Map.of("lr", 0.5)));
        var late = refused(() -> session.update(Map.of("labels", Map.of("a", "b"))));
        check(late.code().equals("precondition_failed") && late.requestId() != null, late);
        check(session.refresh().members().get("hyperparameters") instanceof Map<?, ?> now && now.get("lr").equals(0.5),
                session.info());
        var unknown = refused(() -> CLIENT.create("adam", Map.of("lr", 1)));
        check(unknown.code().equals("invalid_session") && unknown.members().get("where").equals("lr"), unknown);
        session.delete();
        check(refused(session::refresh).status() == 404, "deleted");
    }

    private static void aSessionThatHoldsItsParametersServesManyThreads() throws Exception {
        var session = CLIENT.create("sgd", Map.of("hold_params", true, "hyperparameters", Map.of("lr", 1)));
        session.putParams(Map.of("table", Tensor.of(new float[6], 3, 2)));
        List<Throwable> errors = new ArrayList<>();
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            threads.add(new Thread(() -> {
                try {
                    var grads = Map.of("table", Tensor.of(new float[] {-1, -1, -1, -1, -1, -1}, 3, 2));
                    session.step(null, grads, new StepOptions().withoutParams());
                } catch (InterruptedException | RuntimeException error) {
                    errors.add(error);
                }
            }));
        }
        threads.forEach(Thread::start);
        for (Thread thread : threads) {
            thread.join();
        }
        check(errors.isEmpty(), errors);
        var rows = new StepOptions().beside("rows", Map.of("table", new Tensor(DType.I64, new int[] {1}, new long[] {2})));
        var after = session.step(null, Map.of("table", Tensor.of(new float[] {-4, 4}, 1, 2)), rows);
        checkData(after.params().get("table"), new float[] {8, 0});
        checkData(session.params().get("table"), new float[] {4, 4, 4, 4, 8, 0});
        session.delete();
    }
}
