package optim_test

import (
	"context"
	"fmt"

	"optim"
)

// The first loop of the README.
func Example() {
	ctx := context.Background()
	session, err := optim.New("http://127.0.0.1:8000").Create(ctx, "adam", optim.Settings{
		"hyperparameters": optim.Settings{"lr": 0.1},
	})
	params := optim.Tensors{"w": optim.Float32([]float32{0, 0})}
	for step := 0; step < 200 && err == nil; step++ {
		w := params["w"].Float32()
		grads := optim.Tensors{"w": optim.Float32([]float32{2 * (w[0] - 1), 2 * (w[1] + 2)})}
		var answer *optim.Answer
		if answer, err = session.Step(ctx, params, grads); err == nil {
			params = answer.Params
		}
	}
	fmt.Println(params["w"].Float32(), err)
}
