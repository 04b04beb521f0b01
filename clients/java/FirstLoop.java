import java.util.Arrays;
import java.util.Map;
import optim.Optim;
import optim.Optim.Tensor;

/** The first loop of the README. */
final class FirstLoop {
    public static void main(String[] arguments) throws InterruptedException {
        var client = new Optim("http://127.0.0.1:8000");
        var session = client.create("adam", Map.of("hyperparameters", Map.of("lr", 0.1)));
        var params = Map.of("w", Tensor.of(new float[] {0, 0}));
        for (int step = 0; step < 200; step++) {
            float[] w = params.get("w").floats();
            var grads = Map.of("w", Tensor.of(new float[] {2 * (w[0] - 1), 2 * (w[1] + 2)}));
            params = session.step(params, grads).params();
        }
        System.out.println(Arrays.toString(params.get("w").floats()));
    }
}
