//go:build !(armbe || arm64be || mips || mips64 || ppc || ppc64 || s390 || s390x || sparc || sparc64)

// Package optim is the Go client of Optim Service, an optimizer that is called over HTTP. You send parameters and
// gradients, and get the new parameters back. Every step is durable and applied exactly once.
//
//	session, err := optim.New("http://127.0.0.1:8000").Create(ctx, "adamw", nil)
//	answer, err := session.Step(ctx, params, grads)
//	params = answer.Params
//
// A call that fails but may succeed later is tried again, for 120 seconds unless told otherwise, so a training loop
// outlives a restart of the service. Repeating is safe: all tries of a call carry one idempotency key.
//
// Errors are *StatusError (the service refused), *NoAnswerError (no answer came, after all retries) and
// *InvalidAnswerError (something else answered). Arguments that cannot be sent are plain errors.
//
// It sends arrays from their own memory as safetensors, which is little-endian, so it does not build for big-endian
// machines.
package optim

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"
	"unsafe"
)

// Forever as the time of WithRetryFor sets no limit.
const Forever = time.Duration(math.MaxInt64)

var stepPrefix = regexp.MustCompile(`^step \d+: `)

const (
	firstWait         = 500 * time.Millisecond
	longestWait       = 4 * time.Second
	longestRetryAfter = 120 * time.Second // without a limit of time
	connectTimeout    = 5 * time.Second
	progressTimeout   = 60 * time.Second
	longestHeader     = 100 << 20
	mostWarnings      = 100
	safetensors       = "application/vnd.safetensors"
	requestIDPrefix   = "optim-client-"
)

// A Client calls the service. It is safe for use by many goroutines, which share its connections.
type Client struct {
	base     string
	key      string
	http     *http.Client
	retryFor time.Duration
	retries  int
	clock    Clock
	log      *log.Logger
	name     string // of this client, in its request ids
	count    uint64
}

// An Option changes a Client from its defaults.
type Option func(*Client)

// WithAPIKey sets the key, instead of the environment's OPTIM_API_KEY.
func WithAPIKey(key string) Option { return func(c *Client) { c.key = key } }

// WithHTTPClient sets the HTTP client, for example for a proxy or certificates of your own. Redirects are not followed.
func WithHTTPClient(h *http.Client) Option { return func(c *Client) { c.http = h } }

// WithRetryFor sets for how long a call is tried again since its first failure: 120 seconds by default.
func WithRetryFor(d time.Duration) Option { return func(c *Client) { c.retryFor = d } }

// WithMaxRetries limits the number of retries, beside their time.
func WithMaxRetries(n int) Option { return func(c *Client) { c.retries = n } }

// WithLogger sets the logger of retries and warnings, instead of the standard one.
func WithLogger(l *log.Logger) Option { return func(c *Client) { c.log = l } }

// WithClock replaces the time and chance that retries go by, for tests.
func WithClock(clock Clock) Option { return func(c *Client) { c.clock = clock } }

// A Clock is what retries go by.
type Clock struct {
	Now    func() time.Time
	Sleep  func(ctx context.Context, d time.Duration) error // returns early, with an error, when ctx ends
	Chance func() float64                                   // from 0 to 1; shortens a wait by that share of its half
}

// New returns a client of the service at a URL. An empty one stands for the environment's OPTIM_BASE_URL, or else
// http://127.0.0.1:8000.
func New(baseURL string, options ...Option) *Client {
	if baseURL == "" {
		baseURL = os.Getenv("OPTIM_BASE_URL")
	}
	if baseURL == "" {
		baseURL = "http://127.0.0.1:8000"
	}
	c := &Client{
		base:     strings.TrimRight(baseURL, "/"),
		key:      os.Getenv("OPTIM_API_KEY"),
		http:     &http.Client{Transport: newTransport()},
		retryFor: 120 * time.Second,
		retries:  math.MaxInt,
		clock:    Clock{Now: time.Now, Sleep: sleep, Chance: chance},
		log:      log.Default(),
		name:     requestIDPrefix + randomHex(8),
	}
	for _, set := range options {
		set(c)
	}
	own := *c.http
	own.CheckRedirect = func(next *http.Request, _ []*http.Request) error {
		if next.Body != nil {
			next.Body.Close() // net/http has opened it for a 307, and forgets it
		}
		return http.ErrUseLastResponse
	}
	c.http = &own
	return c
}

func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: connectTimeout}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		ForceAttemptHTTP2:   true,
		TLSHandshakeTimeout: 2 * connectTimeout,
		MaxIdleConnsPerHost: 100,
		DisableCompression:  true,
		WriteBufferSize:     1 << 16,
		ReadBufferSize:      1 << 16,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			return progressConn{conn}, err
		},
	}
}

// A progressConn fails when nothing was read or written for progressTimeout.
type progressConn struct{ net.Conn }

func (c progressConn) Read(p []byte) (int, error) {
	c.SetDeadline(time.Now().Add(progressTimeout))
	return c.Conn.Read(p)
}

func (c progressConn) Write(p []byte) (int, error) {
	c.SetDeadline(time.Now().Add(progressTimeout)) // also that of a Read that waits already
	return c.Conn.Write(p)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func chance() float64 {
	return float64(binary.LittleEndian.Uint64(randomBytes(8))>>11) / (1 << 53)
}

func randomHex(n int) string { return hex.EncodeToString(randomBytes(n)) }

func randomBytes(n int) []byte {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		panic(err) // the system has no randomness
	}
	return b
}

// Create creates a session: one training run's optimizer, with its settings, moments and step. Settings that are not
// given have the service's defaults.
func (c *Client) Create(ctx context.Context, optimizer string, settings Settings) (*Session, error) {
	all := Settings{"optimizer": optimizer}
	for name, value := range settings {
		all[name] = value
	}
	return c.created(ctx, "/v1/sessions", all)
}

// CreateFromState creates a session from a state file that SaveState has written.
func (c *Client) CreateFromState(ctx context.Context, path string) (*Session, error) {
	body, err := fileContent(path)
	if err != nil {
		return nil, err
	}
	return c.session(ctx, write("POST", "/v1/sessions", body))
}

// Get finds a session, to go on with its run.
func (c *Client) Get(ctx context.Context, id string) (*Session, error) {
	if id == "" || id == "." || id == ".." {
		return nil, fmt.Errorf("optim: a session's id cannot be %q", id)
	}
	return c.session(ctx, get(sessionPath(id)))
}

// Call makes any other call, with JSON, such as GET /v1/sessions?limit=10. It returns the status, and reads the answer
// into a pointer if that is not nil. A call that changes something is done once, whatever its number of tries.
func (c *Client) Call(ctx context.Context, method, path string, body, answer any) (status int, err error) {
	q := get(path)
	if method != "GET" {
		sent := content{}
		if body != nil {
			if sent, err = jsonContent(body); err != nil {
				return 0, err
			}
		}
		q = write(method, path, sent)
	}
	err = c.do(ctx, q, func(r *http.Response) error {
		status = r.StatusCode
		if answer == nil {
			return nil
		}
		return readJSON(answer)(r)
	})
	return status, err
}

func (c *Client) created(ctx context.Context, path string, settings Settings) (*Session, error) {
	body, err := jsonContent(settings)
	if err != nil {
		return nil, err
	}
	return c.session(ctx, write("POST", path, body))
}

// session makes a call that is answered with a session.
func (c *Client) session(ctx context.Context, q request) (*Session, error) {
	s := &Session{client: c, turn: make(chan struct{}, 1), shown: map[string]bool{}}
	if err := c.do(ctx, q, s.tagged(q, readInfo(&s.info))); err != nil {
		return nil, err
	}
	return s, nil
}

// A Session is one training run's optimizer, which the service keeps. It is safe for use by many goroutines: its calls
// take turns, one step at a time.
type Session struct {
	client *Client
	turn   chan struct{}   // has an element while a call is made
	etag   string          // is used in turns, like the next
	shown  map[string]bool // the warnings that were logged

	mu   sync.Mutex // guards info
	info Info
}

// ID returns the session's id.
func (s *Session) ID() string { return s.Info().ID }

// Info returns what this client knows of the session: Step and Digest follow every step, the rest is as of the last
// answer that had the whole session.
func (s *Session) Info() Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.info
}

// readInfo reads a session. Some other JSON, from something else at the address, is none.
func readInfo(info *Info) reader {
	read := readJSON(info)
	return func(r *http.Response) error {
		if err := read(r); err != nil {
			return err
		}
		if info.ID == "" {
			return malformed(errors.New("a session's id is missing"))
		}
		return nil
	}
}

func (s *Session) learn(info Info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.info = info
}

// Step takes one optimizer step. Pass nil as params where the session holds its parameters. A parameter without a
// gradient is not stepped, and comes back as it is.
//
// After a *NoAnswerError, also one of a ctx that ended, call Step again with the same arguments: the step is applied
// once, whatever happened. Do not change the arrays until Step returns.
func (s *Session) Step(ctx context.Context, params, grads Tensors, options ...StepOption) (*Answer, error) {
	step := newStep(params, grads)
	for _, set := range options {
		set(step)
	}
	return inTurn(ctx, s, func() (*Answer, error) {
		number, answer := s.Info().Step+1, new(Answer)
		if step.number != nil {
			number = *step.number
		}
		q, err := step.request(s.path("steps"), number)
		if err == nil {
			err = s.client.do(ctx, q, s.tagged(q, answer.reader(number, step)))
		}
		if err != nil {
			return nil, err
		}
		for name, param := range params {
			if _, ok := answer.Params[name]; !ok {
				answer.Params[name] = param
			}
		}
		s.stepped(answer)
		return answer, nil
	})
}

func (s *Session) stepped(answer *Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.info.Step, s.info.Digest = answer.Step, answer.Digest
	for _, warning := range answer.Warnings {
		text := stepPrefix.ReplaceAllString(warning, "")
		if !s.shown[text] && len(s.shown) < mostWarnings {
			s.shown[text] = true
			s.client.log.Printf("optim: session %s, step %d: %s", s.info.ID, answer.Step, text)
		}
	}
}

// Refresh reads the session again, for example after a step_conflict.
func (s *Session) Refresh(ctx context.Context) (Info, error) {
	return inTurn(ctx, s, func() (Info, error) {
		return s.reread(ctx, get(s.path()))
	})
}

// Update changes settings from the next step on, if the session is still as this client knows it. A nil restores a
// default.
func (s *Session) Update(ctx context.Context, changes Settings) (Info, error) {
	body, err := jsonContent(changes)
	if err != nil {
		return Info{}, err
	}
	return inTurn(ctx, s, func() (Info, error) {
		step := s.Info().Step
		info, err := s.reread(ctx, write("PATCH", s.path(), body))
		if err == nil {
			info.Step = step // the caller's parameters do not belong to another client's step
			s.learn(info)
		}
		return info, err
	})
}

// Undo takes the session's last step back, to the bit, if the session was created with "undo": n. Go on from the
// parameters of the step before.
func (s *Session) Undo(ctx context.Context) (Info, error) {
	return inTurn(ctx, s, func() (Info, error) {
		body, err := jsonContent(Settings{"step": s.Info().Step})
		if err != nil {
			return Info{}, err
		}
		return s.reread(ctx, write("POST", s.path("undo"), body))
	})
}

// Fork creates a session in the same state. Settings may be labels and ttl_seconds, or nil.
func (s *Session) Fork(ctx context.Context, settings Settings) (*Session, error) {
	if settings == nil {
		settings = Settings{}
	}
	return inTurn(ctx, s, func() (*Session, error) {
		return s.client.created(ctx, s.path("fork"), settings)
	})
}

// Params returns the parameters of a session that holds them.
func (s *Session) Params(ctx context.Context) (Tensors, error) {
	var params Tensors
	err := s.call(ctx, get(s.path("params")), readTensors(func(all Tensors, _ map[string]string) error {
		params = all.below("params/")
		return nil
	}))
	return params, err
}

// PutParams gives its parameters to a session that holds them, if it is still as this client knows it.
func (s *Session) PutParams(ctx context.Context, params Tensors) error {
	body, err := encode(map[string]Tensors{"params/": params}, nil)
	if err != nil {
		return err
	}
	return s.call(ctx, write("PUT", s.path("params"), body), readNothing)
}

// SaveState downloads the whole state into a file, which is replaced wholly or not at all.
func (s *Session) SaveState(ctx context.Context, path string) error {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // fails after the renaming
	defer file.Close()
	err = s.call(ctx, get(s.path("state")), func(r *http.Response) error {
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if err := file.Truncate(0); err != nil { // what an earlier try has left
			return err
		}
		_, err := io.Copy(file, r.Body)
		return err
	})
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = file.Close()
	}
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	return err
}

// LoadState uploads a state file into this session as it is now. It goes on from the step in the file.
func (s *Session) LoadState(ctx context.Context, path string) (Info, error) {
	body, err := fileContent(path)
	if err != nil {
		return Info{}, err
	}
	return inTurn(ctx, s, func() (Info, error) {
		_, err := s.reread(ctx, get(s.path()))
		if err == nil {
			err = s.do(ctx, write("PUT", s.path("state"), body), readNothing)
		}
		if err != nil {
			return Info{}, err
		}
		return s.reread(ctx, get(s.path()))
	})
}

// Delete deletes the session as it is now, with its state and its history.
func (s *Session) Delete(ctx context.Context) error {
	_, err := inTurn(ctx, s, func() (struct{}, error) {
		_, err := s.reread(ctx, get(s.path()))
		if err == nil {
			err = s.do(ctx, write("DELETE", s.path(), content{}), readNothing)
		}
		return struct{}{}, err
	})
	return err
}

func (s *Session) path(below ...string) string {
	return strings.Join(append([]string{sessionPath(s.ID())}, below...), "/")
}

func sessionPath(id string) string { return "/v1/sessions/" + url.PathEscape(id) }

// inTurn makes a call after the session's earlier ones.
func inTurn[T any](ctx context.Context, s *Session, call func() (T, error)) (T, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
		return call()
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

func (s *Session) call(ctx context.Context, q request, read reader) error {
	_, err := inTurn(ctx, s, func() (struct{}, error) { return struct{}{}, s.do(ctx, q, read) })
	return err
}

// do makes a call within a turn. A change has an If-Match, so that a first try that arrives late does no harm.
func (s *Session) do(ctx context.Context, q request, read reader) error {
	if s.etag != "" && q.method != "GET" {
		q.header["If-Match"] = s.etag
	}
	return s.client.do(ctx, q, s.tagged(q, read))
}

// reread makes a call that is answered with the session, within a turn.
func (s *Session) reread(ctx context.Context, q request) (Info, error) {
	var info Info
	err := s.do(ctx, q, readInfo(&info))
	if err == nil {
		s.learn(info)
	}
	return info, err
}

// tagged remembers the answer's ETag, but not a weak one, which no If-Match can use.
func (s *Session) tagged(q request, read reader) reader {
	return func(r *http.Response) error {
		if err := read(r); err != nil {
			return err
		}
		etag := r.Header.Get("ETag")
		if strings.HasPrefix(etag, `"`) {
			s.etag = etag
		} else if q.method != "GET" {
			s.etag = ""
		}
		return nil
	}
}

// Settings of a session, by name, as docs/api.md has them. Create, Update and Fork send them as they are, and the
// service refuses what it does not know.
type Settings map[string]any

// Info is a session as the service describes it.
type Info struct {
	ID              string                `json:"id"`
	Optimizer       string                `json:"optimizer"`
	Hyperparameters map[string]any        `json:"hyperparameters"`
	Groups          []map[string]any      `json:"groups"`
	Schedule        map[string]any        `json:"schedule"`
	Clip            map[string]any        `json:"clip"`
	OnNonFinite     string                `json:"on_non_finite"`
	OnOtherParams   string                `json:"on_other_params"`
	HoldParams      bool                  `json:"hold_params"`
	WireDType       string                `json:"wire_dtype"`
	Average         map[string]any        `json:"average"`
	Undo            int                   `json:"undo"`
	Workers         map[string]any        `json:"workers"` // nil: plain steps
	Step            int                   `json:"step"`
	SkippedSteps    int                   `json:"skipped_steps"`
	Rewinds         int                   `json:"rewinds"`
	Digest          string                `json:"digest"`
	Tensors         map[string]TensorInfo `json:"tensors"`
	Warnings        []string              `json:"warnings"`
	TTLSeconds      float64               `json:"ttl_seconds"` // 0: the session does not expire
	Labels          map[string]string     `json:"labels"`
	CreatedAt       time.Time             `json:"created_at"`
	UpdatedAt       time.Time             `json:"updated_at"`
	ExpiresAt       time.Time             `json:"expires_at"` // zero: never
}

// TensorInfo is what a session knows of a tensor.
type TensorInfo struct {
	Shape     []int  `json:"shape"`
	DType     string `json:"dtype"`
	Step      int    `json:"step"`
	Group     *int   `json:"group"`
	Optimizer string `json:"optimizer"`
}

// An Answer is what the service answers to a step.
type Answer struct {
	Params       Tensors // new memory, which is the caller's
	Step         int     // the session's step
	Skipped      bool    // a gradient was not finite, and the session skips such steps: nothing was changed
	Digest       string  // names the whole state
	ParamsDigest string
	Metrics      Metrics
	Warnings     []string // what may be wrong, although the step was taken; new ones are also logged
}

// Metrics are the numbers of a step. They may be NaN or infinite.
type Metrics struct {
	LR         float64
	GradNorm   float64
	UpdateNorm float64
	ParamNorm  float64
	ClipScale  float64
}

// UnmarshalJSON reads numbers that may be the strings "NaN", "Infinity" and "-Infinity".
func (m *Metrics) UnmarshalJSON(text []byte) error {
	var said map[string]any
	if err := json.Unmarshal(text, &said); err != nil {
		return err
	}
	for name, number := range map[string]*float64{
		"lr": &m.LR, "grad_norm": &m.GradNorm, "update_norm": &m.UpdateNorm, "param_norm": &m.ParamNorm,
		"clip_scale": &m.ClipScale,
	} {
		switch value := said[name].(type) {
		case float64:
			*number = value
		case string:
			parsed, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return fmt.Errorf("%s is %q, not a number", name, value)
			}
			*number = parsed
		default:
			return fmt.Errorf("%s is %v, not a number", name, value)
		}
	}
	return nil
}

func (a *Answer) reader(number int, sent *step) reader {
	return readTensors(func(all Tensors, metadata map[string]string) (err error) {
		*a = Answer{Params: all.below("params/"), Digest: metadata["digest"], ParamsDigest: metadata["params_digest"]}
		if a.Step, err = strconv.Atoi(metadata["step"]); err != nil {
			return err
		}
		if a.Skipped, err = strconv.ParseBool(metadata["skipped"]); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(metadata["metrics"]), &a.Metrics); err != nil {
			return err
		}
		if warnings, ok := metadata["warnings"]; ok {
			if err := json.Unmarshal([]byte(warnings), &a.Warnings); err != nil {
				return err
			}
		}
		if a.Skipped {
			number--
		}
		if a.Step != number {
			return fmt.Errorf("unexpected step %d; expected %d", a.Step, number)
		}
		return sent.fits(a.Params)
	})
}

// A StepOption is for one step alone.
type StepOption func(*step)

// Loss is recorded in the session's history.
func Loss(loss float64) StepOption { return withNumber("loss", loss) }

// LR replaces the scheduled learning rate.
func LR(lr float64) StepOption { return withNumber("lr", lr) }

// GradScale divides the gradients before they are checked, for a loss that was scaled.
func GradScale(scale float64) StepOption { return withNumber("grad_scale", scale) }

// Overrides replaces hyperparameters.
func Overrides(overrides Settings) StepOption { return func(s *step) { s.overrides = overrides } }

// WithoutParams asks for an answer without parameters, from a session that holds them.
func WithoutParams() StepOption { return func(s *step) { s.minimal = true } }

// Number is the step's number, where a program that crashed sends its last step again: with the same arguments, it gets
// the answer that it lost. Otherwise it is the next one.
func Number(number int) StepOption { return func(s *step) { s.number = &number } }

// Beside adds tensors of another kind to the gradients: "rows" for gradients of some rows, "at" and "scale" for
// compressed ones.
func Beside(kind string, tensors Tensors) StepOption {
	return func(s *step) { s.tensors[kind+"/"] = tensors }
}

func withNumber(name string, number float64) StepOption {
	return func(s *step) { s.metadata[name] = strconv.FormatFloat(number, 'g', -1, 64) }
}

type step struct {
	tensors   map[string]Tensors
	metadata  map[string]string
	overrides Settings
	minimal   bool
	number    *int // nil: the next one
}

func newStep(params, grads Tensors) *step {
	s := &step{tensors: map[string]Tensors{"grads/": grads}, metadata: map[string]string{}}
	if len(grads) > 0 && params != nil {
		s.tensors["params/"] = Tensors{}
		for name := range grads {
			if param, ok := params[name]; ok {
				s.tensors["params/"][name] = param
			}
		}
	}
	return s
}

// fits checks that an answer has each parameter that was sent, or else a loop would go on with the old one.
func (s *step) fits(params Tensors) error {
	for name, sent := range s.tensors["params/"] {
		if got, ok := params[name]; !ok || !got.like(sent) {
			return fmt.Errorf("the parameter %q came as %s %v; expected %s %v", name, got.DType, got.Shape, sent.DType, sent.Shape)
		}
	}
	return nil
}

func (s *step) request(path string, number int) (request, error) {
	if len(s.tensors["grads/"]) == 0 {
		return request{}, errors.New("optim: a step needs a gradient")
	}
	s.metadata["step"] = strconv.Itoa(number)
	if s.overrides != nil {
		text, err := json.Marshal(s.overrides)
		if err != nil {
			return request{}, fmt.Errorf("optim: overrides: %w", err)
		}
		s.metadata["overrides"] = string(text)
	}
	body, err := encode(s.tensors, s.metadata)
	q := write("POST", path, body)
	if s.minimal {
		q.header["Prefer"] = "return=minimal"
	}
	return q, err
}

// A StatusError is a refusal by the service.
type StatusError struct {
	Status    int
	Code      string         // names the reason; empty where something else answered, such as a proxy
	Detail    string         // says it in words
	Members   map[string]any // the further members of the problem, such as tensor or current_step
	RequestID string         // finds the request in the service's log
	Header    http.Header
}

func (e *StatusError) Error() string {
	said := strconv.Itoa(e.Status)
	if e.Code != "" {
		said += " " + e.Code
	}
	if e.RequestID != "" {
		said += ", request " + e.RequestID
	}
	return fmt.Sprintf("optim: %s (%s)", e.Detail, said)
}

// A NoAnswerError says that no answer came, after all retries or before ctx ended. The service may have made the
// change: make the same call again.
type NoAnswerError struct {
	Request string // its method and path
	Err     error
}

func (e *NoAnswerError) Error() string {
	return fmt.Sprintf("optim: %s: no answer: %v", e.Request, e.Err)
}

// Unwrap returns the cause, such as context.Canceled.
func (e *NoAnswerError) Unwrap() error { return e.Err }

// An InvalidAnswerError says that a success cannot be read: does the URL lead to an Optim Service?
type InvalidAnswerError struct {
	Request string // its method and path
	Err     error
}

func (e *InvalidAnswerError) Error() string {
	return fmt.Sprintf("optim: %s: the answer cannot be read: %v", e.Request, e.Err)
}

// Unwrap returns the cause.
func (e *InvalidAnswerError) Unwrap() error { return e.Err }

func statusError(status int, header http.Header, body []byte) *StatusError {
	e := &StatusError{Status: status, RequestID: header.Get("X-Request-ID"), Header: header}
	if json.Unmarshal(body, &e.Members) != nil {
		e.Members = map[string]any{}
	}
	e.Code, _ = e.Members["code"].(string)
	e.Detail, _ = e.Members["detail"].(string)
	if to := header.Get("Location"); e.Detail == "" && to != "" {
		e.Detail = "a redirect, which a client does not follow, to " + to
	} else if e.Detail == "" {
		e.Detail = fmt.Sprintf("a proxy answered, not the service: %q", excerpt(body))
	}
	for _, name := range []string{"type", "title", "status", "detail", "code"} {
		delete(e.Members, name)
	}
	return e
}

func excerpt(body []byte) string {
	text := []rune(strings.Join(strings.Fields(strings.ToValidUTF8(string(body), "?")), " "))
	if len(text) > 200 {
		text = text[:200]
	}
	return string(text)
}

// A request is the same in all its tries.
type request struct {
	method, path string
	header       map[string]string
	body         content
}

func get(path string) request {
	header := map[string]string{"Accept": safetensors + ", application/json, application/problem+json"}
	return request{method: "GET", path: path, header: header}
}

func write(method, path string, body content) request {
	q := get(path)
	q.method, q.body = method, body
	if body.mediaType != "" {
		q.header["Content-Type"] = body.mediaType
	}
	// This spelling, because net/http repeats requests with an Idempotency-Key silently, past the rules of retries.
	q.header["idempotency-key"] = `"` + randomHex(16) + `"`
	return q
}

// A content is a body that can be read again with each try.
type content struct {
	mediaType string
	length    int64
	open      func() (io.ReadCloser, error)
}

func jsonContent(value any) (content, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return content{}, fmt.Errorf("optim: %w", err)
	}
	return content{"application/json", int64(len(text)), func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(text)), nil
	}}, nil
}

func fileContent(path string) (content, error) {
	about, err := os.Stat(path)
	if err != nil {
		return content{}, err
	}
	return content{safetensors, about.Size(), func() (io.ReadCloser, error) { return os.Open(path) }}, nil
}

// A reader takes a success. Errors of the body itself are found by the caller.
type reader func(*http.Response) error

func readNothing(*http.Response) error { return nil }

func readJSON(into any) reader {
	return func(r *http.Response) error {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		return malformed(json.Unmarshal(text, into))
	}
}

func readTensors(use func(Tensors, map[string]string) error) reader {
	return func(r *http.Response) error {
		tensors, metadata, err := decode(r.Body, r.ContentLength)
		if err == nil {
			err = use(tensors, metadata)
		}
		return malformed(err)
	}
}

// A malformedError marks what makes an InvalidAnswerError, unlike a full disk.
type malformedError struct{ error }

func malformed(err error) error {
	if err == nil {
		return nil
	}
	return malformedError{err}
}

// do makes a call, with retries.
func (c *Client) do(ctx context.Context, q request, read reader) error {
	var failed time.Time
	for tries := 1; ; tries++ {
		err := c.try(ctx, q, tries, read)
		if err == nil {
			if tries > 1 {
				after := c.clock.Now().Sub(failed)
				c.log.Printf("optim: %s: answered at try %d, %v after the first failure", q, tries, after)
			}
			return nil
		}
		if tries == 1 {
			failed = c.clock.Now()
		}
		left := c.retryFor
		if left != Forever {
			left -= c.clock.Now().Sub(failed)
		}
		wait, again := c.pause(err, tries, left)
		if !again || tries > c.retries || ctx.Err() != nil {
			return err
		}
		if tries == 1 {
			c.log.Printf("%v; trying again", err)
		}
		if err := c.clock.Sleep(ctx, wait); err != nil {
			return &NoAnswerError{q.String(), err}
		}
	}
}

// pause returns the wait before the next try, and whether there is one.
func (c *Client) pause(err error, tries int, left time.Duration) (time.Duration, bool) {
	if left <= 0 || !passes(err) {
		return 0, false
	}
	wait := longestWait
	if tries < 4 {
		wait = firstWait << (tries - 1)
	}
	wait = time.Duration(float64(wait) * (1 - c.clock.Chance()/2))
	asked, ok := retryAfter(err)
	limit := left
	if left == Forever {
		limit = longestRetryAfter
	}
	switch {
	case ok && asked > limit:
		return 0, false
	case ok && (tries == 1 || asked > wait): // at later tries, a Retry-After of 0 must not become a busy loop
		return asked, true
	case wait > left:
		return left, true
	}
	return wait, true
}

// passes returns whether a later try may succeed.
func passes(err error) bool {
	var refused *StatusError
	if !errors.As(err, &refused) {
		var none *NoAnswerError
		return errors.As(err, &none) && !untrusted(err)
	}
	if said := refused.Header.Get("X-Should-Retry"); said == "true" || said == "false" {
		return said == "true"
	}
	switch refused.Status {
	case 409:
		return refused.Code == "session_busy"
	case 408, 429:
		return true
	case 501, 505:
		return false
	}
	return refused.Status >= 500
}

func untrusted(err error) bool {
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var hostname x509.HostnameError
	return errors.As(err, &authority) || errors.As(err, &invalid) || errors.As(err, &hostname)
}

// retryAfter returns what a refusal asks for. A date counts from the answer's own, so that clocks do not matter.
func retryAfter(err error) (time.Duration, bool) {
	var refused *StatusError
	if !errors.As(err, &refused) {
		return 0, false
	}
	said := refused.Header.Get("Retry-After")
	if said != "" && strings.Trim(said, "0123456789") == "" {
		seconds, err := strconv.ParseInt(said, 10, 64)
		if err != nil || seconds > int64(Forever/time.Second) {
			return Forever, true
		}
		return time.Duration(seconds) * time.Second, true
	}
	until, err := http.ParseTime(said)
	from, err2 := http.ParseTime(refused.Header.Get("Date"))
	if err != nil || err2 != nil {
		return 0, false
	}
	if until.Before(from) {
		return 0, true
	}
	return until.Sub(from), true
}

func (q request) String() string { return q.method + " " + q.path }

// try makes one attempt, and reads its answer whole.
func (c *Client) try(ctx context.Context, q request, tries int, read reader) error {
	var conn net.Conn
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(got httptrace.GotConnInfo) { conn = got.Conn },
	})
	r, err := http.NewRequestWithContext(traced, q.method, c.base+q.path, nil)
	if err != nil {
		return fmt.Errorf("optim: %w", err)
	}
	if r.URL.Scheme != "http" && r.URL.Scheme != "https" {
		return fmt.Errorf("optim: the address %q must begin with http:// or https://", c.base)
	}
	if strings.IndexFunc(c.key, unicode.IsControl) >= 0 {
		return errors.New("optim: the API key has a line break or another control character")
	}
	var sending sync.WaitGroup
	if q.body.length > 0 {
		r.ContentLength = q.body.length
		r.GetBody = func() (io.ReadCloser, error) {
			body, err := q.body.open()
			if err != nil {
				return nil, err
			}
			sending.Add(1)
			return &sentBody{ReadCloser: body, done: sending.Done}, nil
		}
		if r.Body, err = r.GetBody(); err != nil {
			return err
		}
	}
	for name, value := range q.header {
		r.Header[name] = []string{value}
	}
	id := fmt.Sprintf("%s-%d", c.name, atomic.AddUint64(&c.count, 1))
	r.Header.Set("X-Request-ID", id)
	if c.key != "" {
		r.Header.Set("Authorization", "Bearer "+c.key)
	}
	answer, err := c.http.Do(r)
	defer sending.Wait() // net/http may go on to read a body that it no longer needs
	if err != nil {
		var cause *url.Error
		if errors.As(err, &cause) {
			err = cause.Err
		}
		return &NoAnswerError{q.String(), err}
	}
	body := &receivedBody{ReadCloser: answer.Body}
	answer.Body = body
	defer body.Close()
	if got := answer.Header.Get("X-Request-ID"); got != id && strings.HasPrefix(got, requestIDPrefix) {
		if conn != nil { // a transport of the caller's may not tell
			conn.Close()
		}
		return &NoAnswerError{q.String(), fmt.Errorf("the answer to another request came, %s instead of %s", got, id)}
	}
	err = c.read(q, tries, answer, read)
	if body.err != nil {
		return &NoAnswerError{q.String(), body.err}
	}
	if wrong := (malformedError{}); errors.As(err, &wrong) {
		return &InvalidAnswerError{q.String(), wrong.error}
	}
	return err
}

func (c *Client) read(q request, tries int, answer *http.Response, read reader) error {
	missing := answer.StatusCode == 404 && q.method == "DELETE" && tries > 1 // an earlier try has deleted it
	if answer.StatusCode/100 != 2 && !missing {
		text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
		if err != nil {
			return err
		}
		return statusError(answer.StatusCode, answer.Header, text)
	}
	if kind := answer.Header.Get("Content-Type"); strings.HasPrefix(kind, "text/") {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 1000))
		return malformed(fmt.Errorf("a page (%s) came; does the URL lead elsewhere? It says %q", kind, excerpt(text)))
	}
	if err := read(answer); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, answer.Body) // then the connection may carry the next call
	return err
}

// A sentBody tells when net/http is done with it, so that the caller's arrays are free again.
type sentBody struct {
	io.ReadCloser
	once sync.Once
	done func()
}

func (b *sentBody) Close() error {
	b.once.Do(b.done)
	return b.ReadCloser.Close()
}

// A receivedBody remembers whether the connection failed: half an answer is none.
type receivedBody struct {
	io.ReadCloser
	err error
}

func (b *receivedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// A DType is the type of a tensor's elements, as safetensors names it.
type DType string

// The dtypes of parameters and gradients, and those of indices (I64) and of gradients with a scale (I8).
const (
	F64  DType = "F64"
	F32  DType = "F32"
	F16  DType = "F16"
	BF16 DType = "BF16"
	I64  DType = "I64"
	I8   DType = "I8"
)

var sizes = map[DType]int{F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I8: 1}

// A Tensor is an array of any shape, row by row. A scalar has the shape []int{}.
type Tensor struct {
	DType DType
	Shape []int
	Data  any // []float64, []float32, []uint16 (the bits of F16 and BF16), []int64 or []int8
}

// Tensors are tensors by name.
type Tensors map[string]Tensor

// Float32 returns a tensor that shares its memory with data. Without a shape it is a vector.
func Float32(data []float32, shape ...int) Tensor { return Tensor{F32, shaped(shape, len(data)), data} }

// Float64 returns a tensor that shares its memory with data. Without a shape it is a vector.
func Float64(data []float64, shape ...int) Tensor { return Tensor{F64, shaped(shape, len(data)), data} }

// Scalar returns a float32 tensor of shape [].
func Scalar(x float32) Tensor { return Tensor{F32, []int{}, []float32{x}} }

func shaped(shape []int, length int) []int {
	if len(shape) == 0 {
		return []int{length}
	}
	return shape
}

// Float32 returns the elements of a tensor of F32, else nil.
func (t Tensor) Float32() []float32 {
	data, _ := t.Data.([]float32)
	return data
}

// Float64 returns the elements of a tensor of F64, else nil.
func (t Tensor) Float64() []float64 {
	data, _ := t.Data.([]float64)
	return data
}

// below returns the tensors whose names begin with a prefix, without it.
func (all Tensors) below(prefix string) Tensors {
	found := Tensors{}
	for name, tensor := range all {
		if strings.HasPrefix(name, prefix) {
			found[name[len(prefix):]] = tensor
		}
	}
	return found
}

// like returns whether another tensor has the same dtype and shape.
func (t Tensor) like(other Tensor) bool {
	if t.DType != other.DType || len(t.Shape) != len(other.Shape) {
		return false
	}
	for i, length := range t.Shape {
		if length != other.Shape[i] {
			return false
		}
	}
	return true
}

// bytes returns the tensor's own memory, if it fits dtype and shape.
func (t Tensor) bytes() ([]byte, error) {
	switch data := t.Data.(type) {
	case []float64:
		return t.fitting(bytesOf(data), F64)
	case []float32:
		return t.fitting(bytesOf(data), F32)
	case []uint16:
		return t.fitting(bytesOf(data), F16, BF16)
	case []int64:
		return t.fitting(bytesOf(data), I64)
	case []int8:
		return t.fitting(bytesOf(data), I8)
	}
	return nil, fmt.Errorf("its data are %T; expected []float64, []float32, []uint16, []int64 or []int8", t.Data)
}

func (t Tensor) fitting(memory []byte, dtypes ...DType) ([]byte, error) {
	length, ok := product(t.Shape)
	for _, dtype := range dtypes {
		if ok && t.DType == dtype && length*sizes[dtype] == len(memory) {
			return memory, nil
		}
	}
	return nil, fmt.Errorf("%T of %d bytes does not fit %q and the shape %v", t.Data, len(memory), t.DType, t.Shape)
}

func bytesOf[T float64 | float32 | uint16 | int64 | int8](data []T) []byte {
	if len(data) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&data[0])), len(data)*int(unsafe.Sizeof(data[0])))
}

// product returns the number of elements of a shape, unless that is malformed.
func product(shape []int) (int, bool) {
	n := 1
	for _, length := range shape {
		if length < 0 || (length > 0 && n > math.MaxInt/16/length) {
			return 0, false
		}
		n *= length
	}
	return n, true
}

func zeros(dtype DType, shape []int, length int) Tensor {
	t := Tensor{DType: dtype, Shape: shape}
	switch dtype {
	case F64:
		t.Data = make([]float64, length)
	case F32:
		t.Data = make([]float32, length)
	case F16, BF16:
		t.Data = make([]uint16, length)
	case I64:
		t.Data = make([]int64, length)
	case I8:
		t.Data = make([]int8, length)
	}
	return t
}

// An entry is a tensor in a header.
type entry struct {
	DType DType  `json:"dtype"`
	Shape []int  `json:"shape"`
	Place [2]int `json:"data_offsets"`
}

// WriteSafetensors writes tensors, by their full names such as params/w, and metadata: the same bytes for the same
// content.
func WriteSafetensors(w io.Writer, tensors Tensors, metadata map[string]string) error {
	body, err := encode(map[string]Tensors{"": tensors}, metadata)
	if err != nil {
		return err
	}
	file, err := body.open()
	if err == nil {
		_, err = io.Copy(w, file)
	}
	return err
}

// encode returns a body that is read from the tensors' own memory. The names have prefixes, such as params/. Wide
// elements come first, so that all are aligned.
func encode(tensors map[string]Tensors, metadata map[string]string) (content, error) {
	header, memory := map[string]any{}, map[string][]byte{}
	var names []string
	for prefix, some := range tensors {
		for name, tensor := range some {
			name = prefix + name
			data, err := tensor.bytes()
			if err == nil && !utf8.ValidString(name) {
				err = errors.New("its name is not UTF-8")
			}
			if err != nil {
				return content{}, fmt.Errorf("optim: %q: %w", name, err)
			}
			names = append(names, name)
			memory[name] = data
			header[name] = &entry{DType: tensor.DType, Shape: append([]int{}, tensor.Shape...)}
		}
	}
	sort.Slice(names, func(i, j int) bool {
		a, b := sizes[header[names[i]].(*entry).DType], sizes[header[names[j]].(*entry).DType]
		return a > b || (a == b && names[i] < names[j])
	})
	end, parts := 0, [][]byte{nil}
	for _, name := range names {
		start := end
		end += len(memory[name])
		header[name].(*entry).Place = [2]int{start, end}
		parts = append(parts, memory[name])
	}
	if len(metadata) > 0 {
		header["__metadata__"] = metadata
	}
	text, err := json.Marshal(header)
	if err != nil {
		return content{}, fmt.Errorf("optim: %w", err)
	}
	text = append(text, bytes.Repeat([]byte(" "), (8-len(text)%8)%8)...)
	parts[0] = append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)
	return content{safetensors, int64(len(parts[0]) + end), func() (io.ReadCloser, error) {
		return &partsReader{append([][]byte{}, parts...)}, nil
	}}, nil
}

// A partsReader reads buffers one after the other. It fills what it is given, so that small tensors are no packets.
type partsReader struct{ left [][]byte }

func (r *partsReader) Read(p []byte) (n int, err error) {
	for n < len(p) && len(r.left) > 0 {
		count := copy(p[n:], r.left[0])
		n += count
		if r.left[0] = r.left[0][count:]; len(r.left[0]) == 0 {
			r.left = r.left[1:]
		}
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (r *partsReader) Close() error { return nil }

// ReadSafetensors reads tensors, by their full names such as params/w, and the metadata.
func ReadSafetensors(r io.Reader) (Tensors, map[string]string, error) { return decode(r, -1) }

// decode reads a message of so many bytes, or of an unknown length if that is negative. A header cannot make it reserve
// more memory than comes.
func decode(r io.Reader, length int64) (Tensors, map[string]string, error) {
	if length < 0 {
		all, err := io.ReadAll(r)
		if err != nil {
			return nil, nil, err
		}
		r, length = bytes.NewReader(all), int64(len(all))
	}
	header, metadata, err := readHeader(r, length)
	if err != nil {
		return nil, nil, err
	}
	names := make([]string, 0, len(header))
	for name := range header {
		names = append(names, name)
	}
	sort.Slice(names, func(i, j int) bool {
		a, b := header[names[i]].Place, header[names[j]].Place
		return a[0] < b[0] || (a[0] == b[0] && a[1] < b[1])
	})
	tensors, end := Tensors{}, 0
	for _, name := range names {
		about := header[name]
		count, ok := product(about.Shape)
		size, known := sizes[about.DType]
		start := end
		if end += count * size; !ok || !known || about.Place != [2]int{start, end} || int64(end) > length {
			return nil, nil, fmt.Errorf("%q: malformed entry %v behind byte %d", name, about, start)
		}
		tensors[name] = zeros(about.DType, about.Shape, count)
		memory, _ := tensors[name].bytes()
		if _, err := io.ReadFull(r, memory); err != nil {
			return nil, nil, fmt.Errorf("%q: %w", name, err)
		}
	}
	if n, _ := io.ReadFull(r, make([]byte, 1)); n > 0 {
		return nil, nil, fmt.Errorf("there are bytes behind the last tensor, which ends at %d", end)
	}
	return tensors, metadata, nil
}

func readHeader(r io.Reader, longest int64) (header map[string]entry, metadata map[string]string, err error) {
	var size uint64
	if err := binary.Read(r, binary.LittleEndian, &size); err != nil {
		return nil, nil, fmt.Errorf("the header's size: %w", err)
	}
	if longest > longestHeader {
		longest = longestHeader
	}
	if size > uint64(longest) {
		return nil, nil, fmt.Errorf("a header of %d bytes; expected at most %d", size, longest)
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, nil, fmt.Errorf("the header: %w", err)
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		return nil, nil, fmt.Errorf("the header: %w", err)
	}
	header, metadata = map[string]entry{}, map[string]string{}
	for name, about := range raw {
		if name == "__metadata__" {
			err = json.Unmarshal(about, &metadata)
		} else {
			var tensor entry
			err = json.Unmarshal(about, &tensor)
			header[name] = tensor
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%q: %w", name, err)
		}
	}
	return header, metadata, nil
}
