package kumaawsiam_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	kumaawsiam "kuma-aws-iam/integrations/go"
)

// A control plane asks about a Dataplane, and tells the three kinds of answer apart.
func ExampleClient_Authenticate() {
	service := standIn(http.StatusForbidden, `{"type": "about:blank", "title": "Another mesh", "status": 403,
		"detail": "Run this proxy with a role whose kuma.io/mesh is the proxy's own.",
		"reason": "proxy_mesh_mismatch", "requestId": %q}`)
	defer service.Close()

	client, err := kumaawsiam.New(kumaawsiam.Config{Address: service.Listener.Addr().String()}) // 127.0.0.1:5690
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = client.Authenticate(context.Background(), "kuma-aws-v1.aHR0…", kumaawsiam.Proxy{
		Type:   kumaawsiam.TypeDataplane,
		Mesh:   "another",
		Name:   "demo-app-1",
		Tags:   map[string][]string{"kuma.io/service": {"demo-app"}},
		Labels: map[string]string{"kuma.io/workload": "demo-app"},
	})
	var denied *kumaawsiam.DeniedError
	switch {
	case err == nil:
		fmt.Println("admit the proxy")
	case errors.As(err, &denied):
		fmt.Println("refuse the proxy:", denied.Status, denied.Reason)
	default:
		fmt.Println("let the proxy try again:", err)
	}
	// Output: refuse the proxy: 403 proxy_mesh_mismatch
}

// Whoever retries by itself waits for as long as the service asks.
func ExampleUndecidedError() {
	service := standIn(http.StatusServiceUnavailable, `{"type": "about:blank", "title": "STS throttled", "status": 503,
		"detail": "Try again later.", "reason": "sts_throttled", "requestId": %q}`)
	defer service.Close()

	client, err := kumaawsiam.New(kumaawsiam.Config{Address: service.Listener.Addr().String()})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = client.Identify(context.Background(), "kuma-aws-v1.aHR0…")
	var undecided *kumaawsiam.UndecidedError
	if errors.As(err, &undecided) && !errors.Is(err, kumaawsiam.ErrWrongCall) {
		fmt.Println("try again after", max(undecided.RetryAfter, time.Second))
	}
	// Output: try again after 5s
}

func max(a, b time.Duration) time.Duration {
	if a > b {
		return a
	}
	return b
}

// standIn answers each call in the same way.
func standIn(status int, body string) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("Retry-After", "5")
		w.WriteHeader(status)
		fmt.Fprintf(w, body, r.Header.Get("X-Request-Id"))
	}))
}
