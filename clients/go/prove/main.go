// Command prove shows the harness of clients/README.md what this client does.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"optim"
	"optim/leastsquares"
)

func main() {
	var err error
	switch arguments := os.Args[1:]; {
	case len(arguments)%3 == 1 && arguments[0] == "golden":
		for files := arguments[1:]; len(files) > 0 && err == nil; files = files[3:] {
			err = golden(files[0], files[1], files[2])
		}
	case len(arguments) == 1 && arguments[0] == "call":
		err = calls(bufio.NewScanner(os.Stdin))
	case len(arguments) == 2 && arguments[0] == "train":
		err = train(arguments[1])
	default:
		err = errors.New("usage: prove golden REQUEST RESPONSE OUT … | prove call | prove train URL")
	}
	if err != nil {
		log.Fatal(err)
	}
}

func show(document any) error { return json.NewEncoder(os.Stdout).Encode(document) }

func golden(request, response, out string) error {
	tensors, metadata, err := read(request)
	if err != nil {
		return err
	}
	file, err := os.Create(out)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := optim.WriteSafetensors(file, tensors, metadata); err != nil {
		return err
	}
	if tensors, metadata, err = read(response); err != nil {
		return err
	}
	shown := map[string]any{}
	for name, tensor := range tensors {
		var elements strings.Builder
		if err := binary.Write(hex.NewEncoder(&elements), binary.LittleEndian, tensor.Data); err != nil {
			return err
		}
		shown[name] = map[string]any{"dtype": tensor.DType, "shape": tensor.Shape, "hex": elements.String()}
	}
	return show(map[string]any{"metadata": metadata, "tensors": shown})
}

func read(path string) (optim.Tensors, map[string]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	return optim.ReadSafetensors(bufio.NewReader(file))
}

// calls makes the calls of its input, one after the other.
func calls(input *bufio.Scanner) error {
	for input.Scan() {
		var url, method, path, seconds, retries string
		var chance float64
		if _, err := fmt.Sscan(input.Text(), &url, &method, &path, &seconds, &retries, &chance); err != nil {
			return err
		}
		options, err := limits(seconds, retries)
		if err != nil {
			return err
		}
		client := optim.New(url, append(options, optim.WithClock(clock(input, chance)))...)
		var body any
		if method == "POST" {
			body = struct{}{}
		}
		status, err := client.Call(context.Background(), method, path, body, nil)
		if err := show(end(status, err)); err != nil {
			return err
		}
	}
	return input.Err()
}

func limits(seconds, retries string) (options []optim.Option, err error) {
	var limit float64
	if limit, err = strconv.ParseFloat(seconds, 64); err != nil {
		return nil, err
	}
	retryFor := optim.Forever
	if !math.IsInf(limit, 1) {
		retryFor = time.Duration(limit * float64(time.Second))
	}
	options = append(options, optim.WithRetryFor(retryFor))
	if retries != "inf" {
		n, err := strconv.Atoi(retries)
		if err != nil {
			return nil, err
		}
		options = append(options, optim.WithMaxRetries(n))
	}
	return options, nil
}

// clock returns one that the harness moves.
func clock(input *bufio.Scanner, chance float64) optim.Clock {
	now := time.Unix(0, 0)
	return optim.Clock{
		Now:    func() time.Time { return now },
		Chance: func() float64 { return chance },
		Sleep: func(_ context.Context, d time.Duration) error {
			if err := show(map[string]any{"wait": d.Seconds()}); err != nil {
				return err
			}
			if !input.Scan() {
				return io.ErrUnexpectedEOF
			}
			seconds, err := strconv.ParseFloat(input.Text(), 64)
			now = time.Unix(0, 0).Add(time.Duration(seconds * float64(time.Second)))
			return err
		},
	}
}

func end(status int, err error) map[string]any {
	if err == nil {
		return map[string]any{"end": "result", "status": status}
	}
	shown := map[string]any{
		"end": "error", "status": nil, "code": nil, "detail": err.Error(), "members": map[string]any{}, "request_id": nil,
	}
	var refused *optim.StatusError
	if errors.As(err, &refused) {
		shown["status"], shown["detail"], shown["members"] = refused.Status, refused.Detail, refused.Members
		if refused.Code != "" {
			shown["code"] = refused.Code
		}
		if refused.RequestID != "" {
			shown["request_id"] = refused.RequestID
		}
	}
	return shown
}

func train(url string) error {
	w, b, err := leastsquares.Fit(context.Background(), optim.New(url))
	if err != nil {
		return err
	}
	return show(map[string]any{"params": map[string]any{"w": w, "b": b}})
}
