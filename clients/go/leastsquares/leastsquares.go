// Package leastsquares fits w and b such that w[0]·x[0] + w[1]·x[1] + b is near y. It is the training of
// clients/contract/least_squares.json: all its sums are exact in float64, so every language ends at the same bits.
package leastsquares

import (
	"context"

	"optim"
)

const steps = 60

var points = []struct{ x0, x1, y float64 }{{1, 2, 7}, {3, 1, 7}, {2, 4, 15}, {4, 3, 16}}

var settings = optim.Settings{
	"hyperparameters": optim.Settings{"lr": 0.5, "betas": []float64{0.7, 0.9}, "weight_decay": 0.0},
	"schedule":        optim.Settings{"kind": "cosine", "total_steps": steps},
}

// Fit trains in a new session, and returns the final parameters.
func Fit(ctx context.Context, client *optim.Client) (w, b []float32, err error) {
	session, err := client.Create(ctx, "adamw", settings)
	if err != nil {
		return nil, nil, err
	}
	params := optim.Tensors{"w": optim.Float32([]float32{0, 0}), "b": optim.Float32([]float32{0})}
	for i := 0; i < steps; i++ {
		answer, err := session.Step(ctx, params, gradients(params))
		if err != nil {
			return nil, nil, err
		}
		params = answer.Params
	}
	return params["w"].Float32(), params["b"].Float32(), nil
}

func gradients(params optim.Tensors) optim.Tensors {
	w, b := params["w"].Float32(), params["b"].Float32()
	var sum [3]float64
	for _, p := range points {
		r := float64(w[0])*p.x0 + float64(w[1])*p.x1 + float64(b[0]) - p.y
		for i, times := range []float64{p.x0, p.x1, 1} {
			sum[i] += r * times / 4
		}
	}
	return optim.Tensors{
		"w": optim.Float32([]float32{float32(sum[0]), float32(sum[1])}),
		"b": optim.Float32([]float32{float32(sum[2])}),
	}
}
