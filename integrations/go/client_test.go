package kumaawsiam

// Answers that the service never gives, and failures of the network. service_test.go asks the real service.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	secret = "kuma-aws-v1.c2VjcmV0LXNlY3JldC1zZWNyZXQ"

	decision = `{"identity":{"type":"dataplane","mesh":"default","service":"demo-app","workload":null,"zone":null},` +
		`"principal":{"partition":"aws","account":"111122223333","role":"demo-app","roleId":"AROAEXAMPLE",` +
		`"session":"task","arn":"arn:aws:sts::111122223333:assumed-role/demo-app/task"},` +
		`"expiresAt":"2026-11-24T05:30:00Z"}`
)

var proxy = Proxy{Type: TypeDataplane, Mesh: "default", Tags: map[string][]string{"kuma.io/service": {"demo-app"}}}

// answer is what a peer sends back. ID in the body stands for the id of the call.
type answer struct {
	status  int
	media   string
	headers map[string]string
	body    string
}

func (a answer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("X-Request-Id")
	w.Header().Set("Content-Type", a.media)
	w.Header().Set("X-Request-Id", id)
	for name, value := range a.headers {
		w.Header().Set(name, value)
	}
	w.WriteHeader(a.status)
	fmt.Fprint(w, strings.ReplaceAll(a.body, "ID", id))
}

func allowed(body string) answer {
	return answer{status: 200, media: "application/json", body: body}
}

func refused(status int, reason string) answer {
	return answer{status: status, media: "application/problem+json", body: fmt.Sprintf(
		`{"type":"about:blank","title":"t","status":%d,"detail":"What to do.","reason":%q,"requestId":"ID"}`, status, reason)}
}

func clientOf(t *testing.T, handler http.Handler) *Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return clientAt(t, server.Listener.Addr().String())
}

func clientAt(t *testing.T, address string) *Client {
	t.Helper()
	client, err := New(Config{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

func undecided(t *testing.T, err error) *UndecidedError {
	t.Helper()
	var found *UndecidedError
	if !errors.As(err, &found) || !errors.Is(err, ErrUndecided) || errors.Is(err, ErrDenied) {
		t.Fatalf("expected an undecided error, got %v", err)
	}
	if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "c2VjcmV0") {
		t.Fatalf("the error contains the credential: %v", err)
	}
	return found
}

func TestAllowed(t *testing.T) {
	got, err := clientOf(t, allowed(decision)).Authenticate(context.Background(), secret, proxy)
	if err != nil {
		t.Fatal(err)
	}
	identity := Identity{Type: TypeDataplane, Mesh: "default", Service: "demo-app"}
	if got.Identity != identity || got.Principal.RoleID != "AROAEXAMPLE" || got.RequestID == "" ||
		!got.ExpiresAt.Equal(time.Date(2026, 11, 24, 5, 30, 0, 0, time.UTC)) {
		t.Fatalf("unexpected decision: %+v", got)
	}
}

func TestNewMembersOfAnAnswerAreIgnored(t *testing.T) {
	body := strings.Replace(decision, "{", `{"new":{"a":[1]},`, 1)
	if _, err := clientOf(t, allowed(body)).Authenticate(context.Background(), secret, proxy); err != nil {
		t.Fatal(err)
	}
}

// Only a complete answer of the service approves.
func TestNoApproval(t *testing.T) {
	change := func(old, changed string) answer {
		if !strings.Contains(decision, old) {
			t.Fatalf("%s is not in the answer", old)
		}
		return allowed(strings.Replace(decision, old, changed, 1))
	}
	cases := map[string]answer{
		"another media type":             {status: 200, media: "text/html", body: decision},
		"no media type":                  {status: 200, body: decision},
		"another status":                 {status: 204, media: "application/json"},
		"a redirect":                     {status: 307, media: "application/json", headers: map[string]string{"Location": "/x"}},
		"an empty body":                  allowed(""),
		"an empty object":                allowed("{}"),
		"no object":                      allowed("[]"),
		"null":                           allowed("null"),
		"cut off":                        allowed(decision[:len(decision)-1]),
		"something behind it":            allowed(decision + "{}"),
		"no UTF-8":                       change("demo-app", "demo-\xff"),
		"a member twice":                 change(`"mesh":"default"`, `"mesh":"other","mesh":"default"`),
		"a name in another case":         change(`"identity"`, `"Identity"`),
		"no mesh":                        change(`"mesh":"default",`, ""),
		"a mesh that is a number":        change(`"mesh":"default"`, `"mesh":1`),
		"an unknown type":                change(`"type":"dataplane"`, `"type":"admin"`),
		"no type":                        change(`"type":"dataplane"`, `"type":null`),
		"an empty role id":               change("AROAEXAMPLE", ""),
		"no principal":                   change(`"principal":{`, `"principal":null,"x":{`),
		"a date of another form":         change("2026-11-24T05:30:00Z", "tomorrow"),
		"an answer to another call":      {status: 200, media: "application/json", headers: map[string]string{"X-Request-Id": "other"}, body: decision},
		"more than the bound":            allowed(strings.Replace(decision, "{", `{"pad":"`+strings.Repeat("x", maxAnswerBytes)+`",`, 1)),
		"nesting beyond the bound":       allowed(`{"a":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + "}"),
		"an approval in a problem's 403": {status: 403, media: "application/json", body: decision},
	}
	for name, peer := range cases {
		peer := peer
		t.Run(name, func(t *testing.T) {
			_, err := clientOf(t, peer).Authenticate(context.Background(), secret, proxy)
			undecided(t, err)
		})
	}
}

// Whoever redirects must not get the credential, nor choose who decides.
func TestARedirectIsNotFollowed(t *testing.T) {
	another := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Error("the credential was sent to another server")
		allowed(decision).ServeHTTP(w, r)
	}))
	defer another.Close()
	peer := answer{status: 307, media: "application/json", headers: map[string]string{"Location": another.URL}}
	_, err := clientOf(t, peer).Authenticate(context.Background(), secret, proxy)
	if found := undecided(t, err); found.Status != 307 {
		t.Fatalf("unexpected error: %+v", found)
	}
}

func TestAnEndlessAnswerIsNotRead(t *testing.T) {
	endless := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, strings.Repeat(" ", 4<<10))
		}
	})
	_, err := clientOf(t, endless).Authenticate(context.Background(), secret, proxy)
	if undecided(t, err); errors.Is(err, context.DeadlineExceeded) {
		t.Fatal("the client reads until its deadline")
	}
}

// Only a complete answer of the service denies: a gateway's 401 must not look like an attack.
func TestNoDenial(t *testing.T) {
	realm := map[string]string{"WWW-Authenticate": `Bearer realm="kuma-aws-iam"`}
	unknown := refused(401, "credential_expired")
	unknown.headers = realm
	change := func(old, changed string) answer {
		peer := refused(403, "proxy_mesh_mismatch")
		peer.body = strings.Replace(peer.body, old, changed, 1)
		return peer
	}
	cases := map[string]answer{
		"401 about the caller":        unknown,
		"401 with the callers reason": refused(401, unknownCaller),
		"401 of a gateway":            {status: 401, media: "text/html", body: "<h1>401</h1>"},
		"403 of a gateway":            {status: 403, media: "application/json", body: `{"reason":"proxy_mesh_mismatch"}`},
		"another status inside":       change("403", "200"),
		"no reason":                   change(`"reason"`, `"cause"`),
		"a reason with other letters": change("proxy_mesh_mismatch", `<b>`),
		"a detail with a line break":  change("What to do.", `a\nb`),
		"an answer to another call":   change("ID", "other"),
		"cut off":                     change("}", ""),
	}
	for name, peer := range cases {
		peer := peer
		t.Run(name, func(t *testing.T) {
			_, err := clientOf(t, peer).Authenticate(context.Background(), secret, proxy)
			undecided(t, err)
		})
	}
}

func TestDenied(t *testing.T) {
	for status, reason := range map[int]string{401: "credential_expired", 403: "proxy_mesh_mismatch"} {
		_, err := clientOf(t, refused(status, reason)).Authenticate(context.Background(), secret, proxy)
		var denied *DeniedError
		if !errors.As(err, &denied) || !errors.Is(err, ErrDenied) || errors.Is(err, ErrUndecided) {
			t.Fatalf("expected a denial, got %v", err)
		}
		if denied.Status != status || denied.Reason != reason || denied.Detail != "What to do." || denied.RequestID == "" {
			t.Fatalf("unexpected denial: %+v", denied)
		}
	}
}

func TestAProblemOfTheCallIsUndecided(t *testing.T) {
	for _, status := range []int{400, 404, 405, 413, 415} {
		_, err := clientOf(t, refused(status, "malformed_request")).Authenticate(context.Background(), secret, proxy)
		if undecided(t, err); !errors.Is(err, ErrWrongCall) {
			t.Fatalf("%d: expected ErrWrongCall too, got %v", status, err)
		}
	}
}

func TestAnUpstreamProblemIsUndecided(t *testing.T) {
	for header, wait := range map[string]time.Duration{
		"7": 7 * time.Second, "": 0, "-1": 0, "soon": 0, "60000": time.Hour, "99999999": 0,
	} {
		peer := refused(503, "sts_throttled")
		peer.headers = map[string]string{"Retry-After": header}
		_, err := clientOf(t, peer).Authenticate(context.Background(), secret, proxy)
		found := undecided(t, err)
		if found.Reason != "sts_throttled" || found.Status != 503 || found.RetryAfter != wait || errors.Is(err, ErrWrongCall) {
			t.Fatalf("unexpected error: %+v", found)
		}
	}
	_, err := clientOf(t, refused(500, "internal_error")).Authenticate(context.Background(), secret, proxy)
	if found := undecided(t, err); found.Reason != "internal_error" {
		t.Fatalf("unexpected error: %+v", found)
	}
}

func TestNobodyListens(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	_, err = clientAt(t, listener.Addr().String()).Authenticate(context.Background(), secret, proxy)
	var network net.Error
	if found := undecided(t, err); found.Status != 0 || !errors.As(err, &network) {
		t.Fatalf("unexpected error: %+v", found)
	}
}

// silent answers nothing until the test ends.
func silent(t *testing.T) http.Handler {
	ended := make(chan struct{})
	t.Cleanup(func() { close(ended) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-ended:
		case <-r.Context().Done():
		}
	})
}

func TestTheContextEndsACall(t *testing.T) {
	client := clientOf(t, silent(t))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err := client.Authenticate(ctx, secret, proxy)
	if undecided(t, err); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("expected the deadline, got %v", err)
	}
	ctx, cancel = context.WithCancel(context.Background())
	cancel()
	_, err = client.Authenticate(ctx, secret, proxy)
	if undecided(t, err); !errors.Is(err, context.Canceled) {
		t.Fatalf("expected the cancellation, got %v", err)
	}
}

// Kuma's HDS server calls without a deadline of its own.
func TestTheTimeoutEndsACallWithoutADeadline(t *testing.T) {
	slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(200) // the head comes, the body does not
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	for name, handler := range map[string]http.Handler{"no head": silent(t), "no body": slow} {
		server := httptest.NewServer(handler)
		defer server.Close()
		client, err := New(Config{Address: server.Listener.Addr().String(), Timeout: 20 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Authenticate(context.Background(), secret, proxy)
		if undecided(t, err); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%s: expected the deadline, got %v", name, err)
		}
	}
}

// A peer that is not the service may send back what it received.
func TestAnEchoPutsNoCredentialIntoAnError(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			received := make([]byte, 64<<10)
			length, _ := connection.Read(received)
			start := strings.Index(string(received[:length]), "{")
			_, _ = connection.Write(append(received[start:length], '\n'))
			connection.Close()
		}
	}()
	_, err = clientAt(t, listener.Addr().String()).Authenticate(context.Background(), secret, proxy)
	undecided(t, err)
}

// The service closes idle connections. net/http then repeats only calls that are marked as idempotent.
func TestAClosedIdleConnectionFailsNoCall(t *testing.T) {
	server := httptest.NewServer(allowed(decision))
	defer server.Close()
	client := clientAt(t, server.Listener.Addr().String())
	for i := 0; i < 20; i++ {
		if _, err := client.Authenticate(context.Background(), secret, proxy); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
		server.CloseClientConnections()
	}
}

func TestTheCallerTokenIsReadForEachCall(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	write := func(token string) {
		if err := os.WriteFile(file, []byte("# made for a test\n\n"+token+"\nthe-second-line-is-not-sent-to-anybody\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var sent string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent = r.Header.Get("Authorization")
		allowed(decision).ServeHTTP(w, r)
	}))
	defer server.Close()
	write(strings.Repeat("a", 32))
	client, err := New(Config{Address: server.Listener.Addr().String(), CallerTokenFile: file})
	if err != nil {
		t.Fatal(err)
	}
	for _, letter := range []string{"a", "b"} {
		write(strings.Repeat(letter, 32))
		if _, err := client.Authenticate(context.Background(), secret, proxy); err != nil {
			t.Fatal(err)
		}
		if sent != "Bearer "+strings.Repeat(letter, 32) {
			t.Fatalf("sent %q", sent)
		}
	}
	// The service reads a comment on a token's line as well.
	write("  " + strings.Repeat("c", 32) + " # until June")
	if _, err := client.Authenticate(context.Background(), secret, proxy); err != nil || sent != "Bearer "+strings.Repeat("c", 32) {
		t.Fatalf("sent %q: %v", sent, err)
	}
	for _, wrong := range []string{"short", "short" + strings.Repeat("d", 32) + "#x", "short" + strings.Repeat("d", 32) + " e"} {
		write(wrong)
		_, err = client.Authenticate(context.Background(), secret, proxy)
		if undecided(t, err); strings.Contains(err.Error(), "short") {
			t.Fatalf("the error contains the token: %v", err)
		}
	}
}
