package optim

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log"
	"math"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

const session = `{"id": "s", "optimizer": "sgd", "step": 0, "digest": ""}`

// start serves a session whose steps are answered by a function.
func start(t *testing.T, step http.HandlerFunc) *Session {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-ID", r.Header.Get("X-Request-ID"))
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/steps") {
			step(w, r)
			return
		}
		io.WriteString(w, session)
	}))
	t.Cleanup(server.Close)
	client := New(server.URL, WithLogger(log.New(io.Discard, "", 0)), WithMaxRetries(0))
	s, err := client.Create(context.Background(), "sgd", nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// answer takes a step whose new parameters are the gradients.
func answer(w http.ResponseWriter, r *http.Request) {
	tensors, metadata, err := ReadSafetensors(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	params := Tensors{}
	for name, grad := range tensors.below("grads/") {
		params["params/"+name] = grad
	}
	WriteSafetensors(w, params, said(metadata["step"]))
}

// said returns the metadata of an answer.
func said(step string) map[string]string {
	return map[string]string{
		"step": step, "skipped": "false", "digest": "d", "warnings": "[]",
		"metrics": `{"lr": 0.1, "grad_norm": "NaN", "update_norm": "Infinity", "param_norm": "-Infinity", "clip_scale": 1}`,
	}
}

var odd = Tensors{
	"größe/\"q\"\\\n\x01<&>😀": Scalar(-0.5),
	"empty":                   Float32([]float32{}, 0, 3),
	"wide":                    Float64([]float64{1, math.Inf(-1)}, 2, 1),
	"narrow":                  Float32([]float32{math.SmallestNonzeroFloat32, 2, 3}),
	"bf16":                    {BF16, []int{2}, []uint16{0x3f80, 0x7fc1}},
	"f16":                     {F16, []int{1, 1}, []uint16{0x3c00}},
	"rows":                    {I64, []int{2}, []int64{-1, math.MaxInt64}},
	"int8":                    {I8, []int{3}, []int8{-128, 0, 127}},
}

func TestTensorsSurviveSafetensors(t *testing.T) {
	var first, second bytes.Buffer
	metadata := map[string]string{"a": "\"\n😀", "b": ""}
	for _, file := range []*bytes.Buffer{&first, &second} {
		if err := WriteSafetensors(file, odd, metadata); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same content has other bytes")
	}
	tensors, said, err := ReadSafetensors(&first)
	if err != nil || !reflect.DeepEqual(tensors, odd) || !reflect.DeepEqual(said, metadata) {
		t.Error(tensors, said, err)
	}
}

func TestTensorsThatFitNoShapeAreNotSent(t *testing.T) {
	for _, tensor := range []Tensor{
		Float32([]float32{1, 2}, 3), {F64, []int{1}, []float32{1}}, {F32, []int{-1, -1}, []float32{1}},
		{F32, []int{1}, "x"}, {"F8", []int{0}, []int8{}}, {F32, []int{math.MaxInt, math.MaxInt}, []float32{1}},
	} {
		if err := WriteSafetensors(io.Discard, Tensors{"w": tensor}, nil); err == nil {
			t.Error("sent", tensor)
		}
	}
	if err := WriteSafetensors(io.Discard, Tensors{"\xff": Scalar(1)}, nil); err == nil {
		t.Error("sent a name that is not UTF-8")
	}
}

func TestMalformedFilesAreRefused(t *testing.T) {
	for _, header := range []string{
		"", "[]", "{", `{"w": 1}`, `{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 8]}}`,
		`{"w": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}`, `{"__metadata__": {"a": 1}}`,
		`{"w": {"dtype": "F8", "shape": [1], "data_offsets": [0, 4]}}`,
		`{"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}}`,
		`{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}`, `{}`,
		`{"w": {"dtype": "F32", "shape": [1152921504606846976], "data_offsets": [0, 4611686018427387904]}}`,
		`{"w": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 4]}}`,
	} {
		file := append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...)
		if _, _, err := ReadSafetensors(bytes.NewReader(append(file, 0, 0, 0, 0))); err == nil {
			t.Error("read", header)
		}
	}
}

func TestAStepBringsMetricsAndUntouchedParameters(t *testing.T) {
	s := start(t, answer)
	frozen := Scalar(3)
	got, err := s.Step(context.Background(), Tensors{"w": Scalar(1), "frozen": frozen}, Tensors{"w": Scalar(2)}, Loss(math.NaN()))
	if err != nil {
		t.Fatal(err)
	}
	if m := got.Metrics; !math.IsNaN(m.GradNorm) || !math.IsInf(m.UpdateNorm, 1) || !math.IsInf(m.ParamNorm, -1) {
		t.Error(m)
	}
	if want := (Tensors{"w": Scalar(2), "frozen": frozen}); !reflect.DeepEqual(got.Params, want) || s.Info().Step != 1 {
		t.Error(got.Params, s.Info().Step)
	}
}

func TestAnAnswerWithoutASentParameterIsNone(t *testing.T) {
	for _, params := range []Tensors{{}, {"params/w": Float32([]float32{1, 2})}, {"params/w": Float64([]float64{1}, 1)}} {
		s := start(t, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			WriteSafetensors(w, params, said("1"))
		})
		one := Tensors{"w": Float32([]float32{1})}
		_, err := s.Step(context.Background(), one, one)
		var invalid *InvalidAnswerError
		if !errors.As(err, &invalid) || s.Info().Step != 0 {
			t.Error(err, s.Info().Step)
		}
	}
}

func TestAnAnswerWithoutAnIDIsNoSession(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{}") }))
	defer server.Close()
	_, err := New(server.URL).Get(context.Background(), "s")
	var invalid *InvalidAnswerError
	if !errors.As(err, &invalid) {
		t.Error(err)
	}
}

func TestStepsOfOneSessionTakeTurnsOnOneConnection(t *testing.T) {
	connections := map[string]bool{}
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		connections[r.RemoteAddr] = true
		answer(w, r)
	})
	var all sync.WaitGroup
	for i := 0; i < 8; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			if _, err := s.Step(context.Background(), nil, odd); err != nil {
				t.Error(err)
			}
		}()
	}
	all.Wait() // two steps at once would have had one number
	if s.Info().Step != 8 || len(connections) != 1 {
		t.Error(s.Info().Step, connections)
	}
}

func TestACancelledStepEndsAtOnceAndMayBeRepeated(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var keys []string
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		if keys = append(keys, r.Header.Get("Idempotency-Key")); len(keys) == 1 {
			cancel()
			io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
			return
		}
		answer(w, r)
	})
	_, err := s.Step(ctx, nil, odd)
	var none *NoAnswerError
	if !errors.Is(err, context.Canceled) || !errors.As(err, &none) {
		t.Fatal(err)
	}
	if _, err := s.Step(ctx, nil, odd); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if got, err := s.Step(context.Background(), nil, odd); err != nil || got.Step != 1 {
		t.Error(got, err)
	}
}

func TestALostAnswerIsOneTry(t *testing.T) {
	var count int32
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		atomic.AddInt32(&count, 1)
		io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler) // on a connection that has served before, where net/http would try again
	})
	_, err := s.Step(context.Background(), nil, odd)
	var none *NoAnswerError
	if !errors.As(err, &none) || atomic.LoadInt32(&count) != 1 {
		t.Error(err, atomic.LoadInt32(&count))
	}
}

func TestARefusalIsReadBeforeTheBodyIsSent(t *testing.T) {
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		io.WriteString(w, `{"code": "body_too_large", "detail": "too large", "limit": 10}`)
	})
	large := Tensors{"w": Float32(make([]float32, 1<<20))}
	_, err := s.Step(context.Background(), large, large)
	var refused *StatusError
	if !errors.As(err, &refused) || refused.Code != "body_too_large" || refused.Members["limit"] != 10.0 {
		t.Error(err)
	}
}

func TestARedirectIsARefusal(t *testing.T) {
	for _, status := range []int{301, 307, 308} {
		s := start(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", status) })
		_, err := s.Step(context.Background(), nil, odd)
		var refused *StatusError
		if !errors.As(err, &refused) || refused.Status != status {
			t.Error(err)
		}
	}
}

func TestWhatCannotBeSentIsNotTriedAgain(t *testing.T) {
	for _, client := range []*Client{New("localhost:8000"), New("http://\x7f"), New("http://localhost", WithAPIKey("key\n")), New("http://localhost", WithAPIKey("key\x00"))} {
		_, err := client.Get(context.Background(), "s")
		var none *NoAnswerError
		if err == nil || errors.As(err, &none) {
			t.Error(err)
		}
	}
}

func TestAPageIsNoAnswer(t *testing.T) {
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<h1>Log in</h1>")
	})
	_, err := s.Step(context.Background(), nil, odd)
	var invalid *InvalidAnswerError
	if !errors.As(err, &invalid) || !strings.Contains(err.Error(), "Log in") {
		t.Error(err)
	}
}
