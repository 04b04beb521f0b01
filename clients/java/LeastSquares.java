import java.util.List;
import java.util.Map;
import optim.Optim;
import optim.Optim.Tensor;

/**
 * The training of {@code clients/contract/least_squares.json}: w and b such that w[0]·x[0] + w[1]·x[1] + b is near y. All
 * its sums are exact in double, so every language ends at the same bits.
 */
final class LeastSquares {
    private static final int STEPS = 60;
    private static final double[][] POINTS = {{1, 2, 7}, {3, 1, 7}, {2, 4, 15}, {4, 3, 16}}; // x[0], x[1], y
    private static final Map<String, ?> SETTINGS = Map.of(
            "hyperparameters", Map.of("lr", 0.5, "betas", List.of(0.7, 0.9), "weight_decay", 0),
            "schedule", Map.of("kind", "cosine", "total_steps", STEPS));

    /** Trains in a new session; returns the final parameters. */
    static Map<String, Tensor> fit(Optim client) throws InterruptedException {
        var session = client.create("adamw", SETTINGS);
        var params = Map.of("w", Tensor.of(new float[2]), "b", Tensor.of(new float[1]));
        for (int i = 0; i < STEPS; i++) {
            params = session.step(params, gradients(params)).params();
        }
        return params;
    }

    private static Map<String, Tensor> gradients(Map<String, Tensor> params) {
        float[] w = params.get("w").floats();
        float b = params.get("b").floats()[0];
        double[] sums = new double[3];
        for (double[] p : POINTS) {
            double r = w[0] * p[0] + w[1] * p[1] + b - p[2];
            sums[0] += r * p[0] / 4;
            sums[1] += r * p[1] / 4;
            sums[2] += r / 4;
        }
        return Map.of("w", Tensor.of(new float[] {(float) sums[0], (float) sums[1]}), "b",
                Tensor.of(new float[] {(float) sums[2]}));
    }
}
