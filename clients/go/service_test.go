package optim

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
)

var ctx = context.Background()

// create creates a session with the service at OPTIM_BASE_URL.
func create(t *testing.T, optimizer string, settings Settings) (*Client, *Session) {
	t.Helper()
	client := New("", WithMaxRetries(0))
	s, err := client.Create(ctx, optimizer, settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Delete(ctx); err != nil {
			t.Error(err)
		}
	})
	return client, s
}

// mustStep takes a step that must succeed.
func mustStep(t *testing.T, s *Session, params, grads Tensors, options ...StepOption) *Answer {
	t.Helper()
	answer, err := s.Step(ctx, params, grads, options...)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestTheServiceTakesTensorsOfEveryKind(t *testing.T) {
	_, s := create(t, "sgd", Settings{"hyperparameters": Settings{"lr": 1}, "groups": []any{}})
	params := Tensors{}
	for name, tensor := range odd {
		if tensor.DType != I64 && tensor.DType != I8 {
			params[name] = tensor
		}
	}
	params["wide"] = Float64([]float64{1, math.Pi}, 2, 1)
	params["bf16"] = Tensor{BF16, []int{2}, []uint16{0x3f80, 0x4000}}
	got := mustStep(t, s, params, params, Loss(math.NaN()), LR(0.5)).Params
	for name, want := range map[string]any{
		"größe/\"q\"\\\n\x01<&>😀": []float32{-0.25}, "wide": []float64{0.5, math.Pi / 2}, "empty": []float32{},
		"bf16": []uint16{0x3f00, 0x3f80}, "f16": []uint16{0x3800},
	} {
		if !reflect.DeepEqual(got[name].Data, want) || !reflect.DeepEqual(got[name].Shape, params[name].Shape) {
			t.Errorf("%q: %v, expected %v", name, got[name], want)
		}
	}
}

func TestASkippedStepHasNoNumber(t *testing.T) {
	_, s := create(t, "sgd", Settings{"on_non_finite": "skip"})
	answer := mustStep(t, s, Tensors{"w": Scalar(1)}, Tensors{"w": Scalar(float32(math.NaN()))})
	if !answer.Skipped || answer.Step != 0 || !math.IsNaN(answer.Metrics.GradNorm) {
		t.Error(answer)
	}
	if answer = mustStep(t, s, answer.Params, Tensors{"w": Scalar(1)}); answer.Skipped || answer.Step != 1 {
		t.Error(answer)
	}
}

func TestAProgramThatCrashedGetsTheLostAnswer(t *testing.T) {
	client, s := create(t, "adam", nil)
	one := Tensors{"w": Scalar(1)}
	lost := mustStep(t, s, one, one, Loss(3))
	found, err := client.Get(ctx, s.ID())
	if err != nil {
		t.Fatal(err)
	}
	if again := mustStep(t, found, one, one, Loss(3), Number(1)); !reflect.DeepEqual(again, lost) || found.Info().Step != 1 {
		t.Error(again, lost)
	}
	var conflict *StatusError
	if _, err := found.Step(ctx, one, one, Loss(4), Number(1)); !errors.As(err, &conflict) || conflict.Code != "step_conflict" {
		t.Error(err)
	}
}

func TestAStateGoesBackAndForth(t *testing.T) {
	client, s := create(t, "adam", Settings{"undo": 1})
	first := mustStep(t, s, Tensors{"w": Scalar(1)}, Tensors{"w": Scalar(1)})
	file := filepath.Join(t.TempDir(), "state.safetensors")
	if err := s.SaveState(ctx, file); err != nil {
		t.Fatal(err)
	}
	second := mustStep(t, s, first.Params, Tensors{"w": Scalar(1)}, Overrides(Settings{"betas": []float64{0.5, 0.5}}))
	undone, err := s.Undo(ctx)
	if err != nil || undone.Digest != first.Digest || undone.Step != 1 {
		t.Error(undone, err)
	}
	fork, err := s.Fork(ctx, nil)
	if err != nil || fork.Info().Digest != first.Digest {
		t.Fatal(err)
	}
	again := mustStep(t, fork, first.Params, Tensors{"w": Scalar(1)}, Overrides(Settings{"betas": []float64{0.5, 0.5}}))
	if again.Digest != second.Digest || !reflect.DeepEqual(again.Params, second.Params) {
		t.Error(again)
	}
	if loaded, err := fork.LoadState(ctx, file); err != nil || loaded.Digest != first.Digest {
		t.Error(loaded, err)
	}
	made, err := client.CreateFromState(ctx, file)
	if err != nil || made.Info().Digest != first.Digest {
		t.Fatal(err)
	}
	for _, other := range []*Session{fork, made} {
		if err := other.Delete(ctx); err != nil {
			t.Error(err)
		}
	}
}

func TestAChangeNeedsTheSessionAsItIs(t *testing.T) {
	client, s := create(t, "adam", nil)
	other, err := client.Get(ctx, s.ID())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Update(ctx, Settings{"hyperparameters": Settings{"lr": 0.5}}); err != nil {
		t.Fatal(err)
	}
	_, err = s.Update(ctx, Settings{"labels": Settings{"a": "b"}})
	var refused *StatusError
	if !errors.As(err, &refused) || refused.Code != "precondition_failed" || refused.RequestID == "" {
		t.Error(err)
	}
	if info, err := s.Refresh(ctx); err != nil || info.Hyperparameters["lr"] != 0.5 {
		t.Error(info, err)
	}
	_, err = client.Create(ctx, "adam", Settings{"lr": 1})
	if !errors.As(err, &refused) || refused.Code != "invalid_session" || refused.Members["where"] != "lr" {
		t.Error(err)
	}
}

func TestASessionThatHoldsItsParametersServesManyGoroutines(t *testing.T) {
	_, s := create(t, "sgd", Settings{"hold_params": true, "hyperparameters": Settings{"lr": 1}})
	if err := s.PutParams(ctx, Tensors{"table": Float32(make([]float32, 6), 3, 2)}); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := 0; i < 4; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			grads := Tensors{"table": Float32([]float32{-1, -1, -1, -1, -1, -1}, 3, 2)}
			if _, err := s.Step(ctx, nil, grads, WithoutParams()); err != nil {
				t.Error(err)
			}
		}()
	}
	all.Wait()
	rows := Beside("rows", Tensors{"table": {I64, []int{1}, []int64{2}}})
	got := mustStep(t, s, nil, Tensors{"table": Float32([]float32{-4, 4}, 1, 2)}, rows)
	if !reflect.DeepEqual(got.Params, Tensors{"table": Float32([]float32{8, 0}, 1, 2)}) {
		t.Error(got.Params)
	}
	if held, err := s.Params(ctx); err != nil || !reflect.DeepEqual(held["table"].Data, []float32{4, 4, 4, 4, 8, 0}) {
		t.Error(held, err)
	}
}
