package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	maxBody         = 64 << 10
	decisionTimeout = 10 * time.Second
)

// Claim is what the proxy says it is.
type Claim struct {
	Type   string              `json:"type"`
	Mesh   string              `json:"mesh"`
	Name   string              `json:"name"`
	Zone   string              `json:"zone"`
	Tags   map[string][]string `json:"tags"`
	Labels map[string]string   `json:"labels"`
}

// Call is the body of a request.
type Call struct {
	Credential *string `json:"credential"`
	Proxy      *Claim  `json:"proxy"`
}

// Identity is what a proxy may be; null where a tag is absent.
type Identity struct {
	Type     string  `json:"type"`
	Mesh     *string `json:"mesh"`
	Service  *string `json:"service"`
	Workload *string `json:"workload"`
	Zone     *string `json:"zone"`
}

// Principal is the role behind a caller.
type Principal struct {
	Partition string `json:"partition"`
	Account   string `json:"account"`
	Role      string `json:"role"`
	RoleID    string `json:"roleId"`
	Session   string `json:"session"`
	ARN       string `json:"arn"`
}

// Approval is the answer to an accepted credential.
type Approval struct {
	Identity  Identity  `json:"identity"`
	Principal Principal `json:"principal"`
	ExpiresAt time.Time `json:"expiresAt"`
}

// Refusal is any other answer.
type Refusal struct {
	Status     int    `json:"status"`
	Title      string `json:"title"`
	Reason     string `json:"reason"`
	RequestID  string `json:"requestId"`
	retryAfter int
}

func (r *Refusal) Error() string { return r.Reason + ": " + r.Title }

func refuse(status int, reason, title string) *Refusal {
	return &Refusal{Status: status, Reason: reason, Title: title}
}

func malformed(title string) *Refusal { return refuse(401, "credential_malformed", title) }

// Upstream is what one decision saw of STS or IAM.
type Upstream struct {
	Cache      string  `json:"cache"`
	RequestID  string  `json:"request_id,omitempty"`
	DurationMS float64 `json:"duration_ms"`
}

// Trail is the audit line, filled in while a decision is taken.
type Trail struct {
	Time       time.Time  `json:"time"`
	Level      string     `json:"level"`
	Event      string     `json:"event"`
	Outcome    string     `json:"outcome"`
	Reason     *string    `json:"reason"`
	Detail     *string    `json:"detail"`
	RequestID  string     `json:"request_id"`
	Form       string     `json:"form"`
	SignedAt   *time.Time `json:"signed_at"`
	Skew       *float64   `json:"clock_skew_seconds"`
	Principal  *Principal `json:"principal"`
	Claimed    *Claim     `json:"claimed"`
	Granted    *Identity  `json:"granted"`
	STS        Upstream   `json:"sts"`
	IAM        Upstream   `json:"iam"`
	DurationMS float64    `json:"duration_ms"`
}

func (s *Service) authenticate(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	s.metrics.inFlight.Add(1)
	defer s.metrics.inFlight.Add(-1)
	trail := &Trail{Time: started.UTC(), Level: "info", Event: "decision", Outcome: "allowed", RequestID: requestID(r)}
	trail.STS.Cache, trail.IAM.Cache = "none", "none"
	approval, refusal := s.answer(w, r, trail)
	if refusal != nil {
		trail.Outcome, trail.Reason, trail.Detail = outcome(refusal.Status), &refusal.Reason, &refusal.Title
	}
	seconds := time.Since(started).Seconds()
	trail.DurationMS = seconds * 1000
	line, err := json.Marshal(trail)
	if err == nil {
		_, _ = os.Stdout.Write(append(line, '\n'))
	}
	s.metrics.decided(trail, seconds)
	var body []byte
	status, mediaType := http.StatusOK, "application/json"
	if refusal != nil {
		refusal.RequestID = trail.RequestID
		status, mediaType = refusal.Status, "application/problem+json"
		body, _ = json.Marshal(refusal)
		if refusal.retryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(refusal.retryAfter))
		}
	} else {
		body, _ = json.Marshal(approval)
	}
	header := w.Header()
	header.Set("Content-Type", mediaType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Request-Id", trail.RequestID)
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func (s *Service) answer(w http.ResponseWriter, r *http.Request, trail *Trail) (*Approval, *Refusal) {
	mediaType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if strings.TrimSpace(mediaType) != "application/json" || r.Header.Get("Content-Encoding") != "" {
		return nil, refuse(415, "unsupported_media_type", "not JSON")
	}
	if r.ContentLength > maxBody {
		return nil, refuse(413, "request_too_large", "over 64 KiB")
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	var call Call
	if err := decoder.Decode(&call); err != nil || call.Credential == nil {
		return nil, refuse(400, "malformed_request", "the body is not a call")
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, refuse(400, "malformed_request", "something follows the body")
	}
	if call.Proxy != nil && !call.Proxy.valid() {
		return nil, refuse(400, "malformed_request", "the claim breaks its schema")
	}
	trail.Claimed = call.Proxy
	ctx, cancel := context.WithTimeout(r.Context(), decisionTimeout)
	defer cancel()
	return s.decide(ctx, *call.Credential, call.Proxy, trail)
}

func requestID(r *http.Request) string {
	if given := r.Header.Get("X-Request-Id"); given != "" && len(given) <= 128 && every(given, isToken) {
		return given
	}
	var made [16]byte
	_, _ = rand.Read(made[:])
	return hex.EncodeToString(made[:])
}

func outcome(status int) string {
	if status == 401 || status == 403 {
		return "denied"
	}
	return "error"
}
