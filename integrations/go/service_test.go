package kumaawsiam

// Calls of the real service, on an emulated AWS that verifies each signature. `make test-go` starts both, and describes
// them in the environment (tests/integrations/test_go.py). Without that, these tests are skipped.

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/http/httptrace"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const sceneVariable = "KUMA_AWS_IAM_GO_SCENE"

// patience bounds a call of a service on a busy machine. It decides nothing.
const patience = 100 * time.Second

type scene struct {
	Plain string
	Unix  string
	TLS   string
	Slow  string // makes one call a second to STS, and takes 2 s for a decision at most

	CAFile    string
	CertFile  string
	KeyFile   string
	TokenFile string

	Cases   []sceneCase
	Hanging string   // STS does not answer for this credential
	Storm   []string // credentials that nobody presented before
}

type sceneCase struct {
	Name       string
	Credential string
	Proxy      *Proxy
	Status     int
	Reason     string
	Identity   Identity
}

func sceneOf(t *testing.T) scene {
	t.Helper()
	text := os.Getenv(sceneVariable)
	if text == "" {
		t.Skipf("%s is not set: there is no service to call. Run: make test-go", sceneVariable)
	}
	var found scene
	if err := json.Unmarshal([]byte(text), &found); err != nil {
		t.Fatal(err)
	}
	return found
}

func (s scene) client(t *testing.T, change func(*Config)) *Client {
	t.Helper()
	config := Config{Address: s.Plain, Timeout: patience}
	if change != nil {
		change(&config)
	}
	client, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

func (s scene) allowed(t *testing.T) sceneCase {
	t.Helper()
	if s.Cases[0].Status != 200 {
		t.Fatal("the first case is not an allowed one")
	}
	return s.Cases[0]
}

func (c sceneCase) ask(ctx context.Context, client *Client) (*Decision, error) {
	if c.Proxy == nil {
		return client.Identify(ctx, c.Credential)
	}
	return client.Authenticate(ctx, c.Credential, *c.Proxy)
}

func TestServiceDecides(t *testing.T) {
	world := sceneOf(t)
	client := world.client(t, nil)
	for _, row := range world.Cases {
		row := row
		t.Run(row.Name, func(t *testing.T) {
			decision, err := row.ask(context.Background(), client)
			if err != nil && row.Credential != "" && strings.Contains(err.Error(), row.Credential) {
				t.Fatal("the error contains the credential")
			}
			switch {
			case row.Status == 200:
				expectDecision(t, row, decision, err)
			case row.Status == 401 || row.Status == 403:
				var denied *DeniedError
				if !errors.As(err, &denied) || denied.Status != row.Status || denied.Reason != row.Reason {
					t.Fatalf("expected %d %s, got %v", row.Status, row.Reason, err)
				}
			default:
				if found := undecided(t, err); found.Status != row.Status || found.Reason != row.Reason {
					t.Fatalf("expected %d %s, got %v", row.Status, row.Reason, err)
				}
				if wrong := row.Status < 500; errors.Is(err, ErrWrongCall) != wrong {
					t.Fatalf("ErrWrongCall is %v for %v", !wrong, err)
				}
			}
		})
	}
}

func expectDecision(t *testing.T, row sceneCase, decision *Decision, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if decision.Identity != row.Identity {
		t.Fatalf("expected %+v, got %+v", row.Identity, decision.Identity)
	}
	left := time.Until(decision.ExpiresAt)
	if left <= 0 || left > 15*time.Minute || !strings.HasPrefix(decision.Principal.RoleID, "AROA") ||
		decision.Principal.Account == "" || decision.RequestID == "" {
		t.Fatalf("unexpected decision: %+v", decision)
	}
}

func TestServiceIsCalledOverOneConnection(t *testing.T) {
	world := sceneOf(t)
	row := world.allowed(t)
	denied := sceneCase{Credential: "no credential", Proxy: row.Proxy}
	for name, client := range map[string]*Client{
		"plain": world.client(t, nil),
		"unix":  world.client(t, func(c *Config) { c.Address = world.Unix }),
		"tls":   world.client(t, world.overTLS(t)),
	} {
		client := client
		t.Run(name, func(t *testing.T) {
			var opened atomic.Int32
			ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
				GotConn: func(info httptrace.GotConnInfo) {
					if !info.Reused {
						opened.Add(1)
					}
				},
			})
			for i := 0; i < 20; i++ {
				if _, err := row.ask(ctx, client); err != nil {
					t.Fatal(err)
				}
				if _, err := denied.ask(ctx, client); !errors.Is(err, ErrDenied) {
					t.Fatalf("expected a denial, got %v", err)
				}
			}
			if opened.Load() != 1 {
				t.Fatalf("40 calls opened %d connections", opened.Load())
			}
		})
	}
}

func TestServiceIsCalledAtTheSameTime(t *testing.T) {
	world := sceneOf(t)
	client, row := world.client(t, nil), world.allowed(t)
	var calls sync.WaitGroup
	for i := 0; i < 16; i++ {
		calls.Add(1)
		go func() {
			defer calls.Done()
			for j := 0; j < 5; j++ {
				decision, err := row.ask(context.Background(), client)
				if err != nil || decision.Identity != row.Identity {
					t.Errorf("%+v, %v", decision, err)
				}
			}
		}()
	}
	calls.Wait()
}

func TestServiceIsOverloaded(t *testing.T) {
	world := sceneOf(t)
	client := world.client(t, func(c *Config) { c.Address = world.Slow })
	var calls sync.WaitGroup
	var overloaded atomic.Int32
	for _, credential := range world.Storm {
		credential := credential
		calls.Add(1)
		go func() {
			defer calls.Done()
			_, err := client.Identify(context.Background(), credential)
			var found *UndecidedError
			if errors.As(err, &found) && found.Reason == "overloaded" {
				overloaded.Add(1)
				if found.Status != 503 || found.RetryAfter <= 0 || !errors.Is(err, ErrUndecided) {
					t.Errorf("unexpected error: %+v", found)
				}
			}
			if errors.Is(err, ErrDenied) {
				t.Errorf("an overloaded service denied: %v", err)
			}
		}()
	}
	calls.Wait()
	if overloaded.Load() == 0 {
		t.Fatalf("%d calls at once were not too many", len(world.Storm))
	}
}

func TestServiceDoesNotAnswerInTime(t *testing.T) {
	world := sceneOf(t)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := world.client(t, nil).Identify(ctx, world.Hanging)
	if found := undecided(t, err); !errors.Is(err, context.DeadlineExceeded) || found.RequestID == "" {
		t.Fatalf("expected the deadline, got %v", err)
	}
}

func (s scene) overTLS(t *testing.T) func(*Config) {
	t.Helper()
	return func(c *Config) {
		config, err := LoadTLS(s.CAFile, s.CertFile, s.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		c.Address, c.TLS, c.CallerTokenFile = s.TLS, config, s.TokenFile
	}
}

// A caller that the service does not know must never look like a proxy that it denies.
func TestServiceRefusesTheCaller(t *testing.T) {
	world := sceneOf(t)
	row := world.allowed(t)
	for name, change := range map[string]func(*Config){
		"no certificate": func(c *Config) { c.TLS.GetClientCertificate = nil },
		"no token":       func(c *Config) { c.CallerTokenFile = "" },
		"no authority":   func(c *Config) { c.TLS.RootCAs = nil },
		"another name":   func(c *Config) { c.TLS.ServerName = "another.example.org" },
		"no TLS":         func(c *Config) { c.TLS = nil },
	} {
		change := change
		t.Run(name, func(t *testing.T) {
			client := world.client(t, func(c *Config) { world.overTLS(t)(c); change(c) })
			_, err := row.ask(context.Background(), client)
			found := undecided(t, err)
			var certificate *tls.CertificateVerificationError
			switch name {
			case "no token":
				if found.Status != 401 || found.Reason != unknownCaller || !errors.Is(err, ErrWrongCall) {
					t.Fatalf("unexpected error: %+v", found)
				}
			case "no authority", "another name":
				if !errors.As(err, &certificate) {
					t.Fatalf("expected an error of the certificate, got %v", err)
				}
			}
		})
	}
}
