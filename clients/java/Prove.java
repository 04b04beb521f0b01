import java.io.BufferedReader;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import optim.Optim;
import optim.Optim.Json;
import optim.Optim.Tensor;

/** The program that shows the harness of {@code clients/README.md} what this client does. */
final class Prove {
    private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

    public static void main(String[] arguments) throws IOException, InterruptedException {
        List<String> rest = List.of(arguments);
        if (rest.size() % 3 == 1 && rest.get(0).equals("golden")) {
            for (int i = 1; i < rest.size(); i += 3) {
                golden(Path.of(rest.get(i)), Path.of(rest.get(i + 1)), Path.of(rest.get(i + 2)));
            }
        } else if (rest.equals(List.of("call"))) {
            calls(new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8)));
        } else if (rest.size() == 2 && rest.get(0).equals("train")) {
            train(rest.get(1));
        } else {
            System.err.println("usage: Prove golden REQUEST RESPONSE OUT … | call | train URL");
            System.exit(2);
        }
    }

    private static void show(Map<String, ?> document) {
        OUT.println(Json.write(document));
    }

    private static void golden(Path request, Path response, Path out) throws IOException {
        Optim.File.read(request).write(out);
        Optim.File read = Optim.File.read(response);
        Map<String, Object> tensors = new LinkedHashMap<>();
        read.tensors().forEach((name, tensor) -> tensors.put(name, Map.of("dtype", tensor.dtype().name(), "shape",
                Arrays.stream(tensor.shape()).boxed().toList(), "hex", HexFormat.of().formatHex(bytes(tensor.data())))));
        show(Map.of("metadata", read.metadata(), "tensors", tensors));
    }

    private static byte[] bytes(Object data) {
        ByteBuffer all = ByteBuffer.allocate(8 * java.lang.reflect.Array.getLength(data)).order(ByteOrder.LITTLE_ENDIAN);
        if (data instanceof double[] some) {
            for (double each : some) {
                all.putDouble(each);
            }
        } else if (data instanceof float[] some) {
            for (float each : some) {
                all.putFloat(each);
            }
        } else if (data instanceof short[] some) {
            for (short each : some) {
                all.putShort(each);
            }
        } else if (data instanceof long[] some) {
            for (long each : some) {
                all.putLong(each);
            }
        } else {
            all.put((byte[]) data);
        }
        return Arrays.copyOf(all.array(), all.position());
    }

    /** Makes the calls of the input, one after the other. */
    private static void calls(BufferedReader input) throws IOException, InterruptedException {
        for (String line; (line = input.readLine()) != null; ) {
            String[] said = line.split(" "); // URL METHOD PATH SECONDS RETRIES CHANCE
            Optim client = Optim.builder(said[0]).retrySeconds(number(said[3]))
                    .maxRetries((int) Math.min(number(said[4]), Integer.MAX_VALUE))
                    .clock(new HarnessClock(input, number(said[5]))).build();
            try {
                Optim.JsonAnswer answer = client.call(said[1], said[2], said[1].equals("POST") ? Map.of() : null);
                show(Map.of("end", "result", "status", answer.status()));
            } catch (Optim.OptimException error) {
                show(end(error));
            }
        }
    }

    private static double number(String said) {
        return said.equals("inf") ? Double.POSITIVE_INFINITY : Double.parseDouble(said);
    }

    private static Map<String, Object> end(Optim.OptimException error) {
        Map<String, Object> end = new LinkedHashMap<>();
        end.put("end", "error");
        Optim.StatusException refused = error instanceof Optim.StatusException it ? it : null;
        end.put("status", refused == null ? null : refused.status());
        end.put("code", refused == null ? null : refused.code());
        end.put("detail", refused == null ? error.getMessage() : refused.detail());
        end.put("members", refused == null ? Map.of() : refused.members());
        end.put("request_id", refused == null ? null : refused.requestId());
        return end;
    }

    /** A clock that the harness moves. */
    private static final class HarnessClock implements Optim.Clock {
        private final BufferedReader input;
        private final double chance;
        private double now;

        private HarnessClock(BufferedReader input, double chance) {
            this.input = input;
            this.chance = chance;
        }

        @Override
        public double now() {
            return now;
        }

        @Override
        public double chance() {
            return chance;
        }

        @Override
        public void sleep(double seconds) {
            show(Map.of("wait", seconds));
            try {
                String line = input.readLine();
                if (line == null) {
                    throw new EOFException("no time came");
                }
                now = Double.parseDouble(line);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }
    }

    private static void train(String url) throws InterruptedException {
        Map<String, List<Double>> params = new LinkedHashMap<>();
        LeastSquares.fit(new Optim(url)).forEach((name, tensor) -> params.put(name, doubles(tensor)));
        show(Map.of("params", params));
    }

    private static List<Double> doubles(Tensor tensor) {
        float[] values = tensor.floats();
        return java.util.stream.IntStream.range(0, values.length).mapToObj(i -> (double) values[i]).toList();
    }
}
