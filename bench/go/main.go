// Command bench is the yardstick of `make bench`, in the standard library alone.
//
//	bench serve    a minimal net/http server that applies the service's local rules; its settings are JSON on stdin
//	bench load     a closed loop of requests over kept-alive connections; see load.go
//
// It is no product: what one run needs is there, and nothing else. It has no pacing, no breaker, no reader roles, one form of
// credential, and Go's own JSON decoder, which lets doubled members pass.
package main

import (
	"encoding/json"
	"log"
	"net/http"
	"os"
	"time"
)

// Settings are what the service reads from its environment.
type Settings struct {
	Listen      string            `json:"listen"`
	Audience    string            `json:"audience"`
	Accounts    []string          `json:"accounts"`
	Endpoints   map[string]string `json:"endpoints"` // accepted STS hosts, with the region that each signs for
	STS         string            `json:"sts"`       // where STS really is
	IAM         string            `json:"iam"`
	Credentials string            `json:"credentials"` // the ECS agent's address for this task
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "load" {
		load(os.Args[2:])
		return
	}
	var settings Settings
	if err := json.NewDecoder(os.Stdin).Decode(&settings); err != nil {
		log.Fatal(err)
	}
	service, err := newService(settings)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/authenticate", service.authenticate)
	mux.HandleFunc("GET /metrics", service.metrics.expose)
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	server := &http.Server{
		Addr:              settings.Listen,
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       75 * time.Second,
		MaxHeaderBytes:    32 << 10,
	}
	log.Fatal(server.ListenAndServe())
}
