package kumaawsiam

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strconv"
	"time"
)

const (
	path = "/v1/authenticate"

	defaultTimeout = 11 * time.Second

	// The longest answer of the service has about 4 KiB.
	maxAnswerBytes = 64 << 10

	maxRetryAfter = time.Hour

	unknownCaller = "caller_not_authenticated"
)

var errNoAnswer = errors.New("there is no complete HTTP answer; check the address, and whether the service uses TLS")

// Client calls one service. It is safe for concurrent use. Make one for a process, since it keeps connections open.
type Client struct {
	http      *http.Client
	url       string
	tokenFile string
	timeout   time.Duration
}

// New makes a client. It does not call the service, which may start later.
//
// The error says which field of the config is wrong, and what to write there.
func New(config Config) (*Client, error) {
	where, err := parseAddress(config.Address)
	if err != nil {
		return nil, err
	}
	if err := checkTLS(where, config.TLS); err != nil {
		return nil, err
	}
	if config.Timeout < 0 {
		return nil, errors.New("kumaawsiam: Timeout must not be negative; 0 means 11 s")
	}
	if config.Timeout == 0 {
		config.Timeout = defaultTimeout
	}
	if config.CallerTokenFile != "" {
		if _, err := readToken(config.CallerTokenFile); err != nil {
			return nil, fmt.Errorf("kumaawsiam: CallerTokenFile: %w", err)
		}
	}
	return &Client{
		http: &http.Client{
			Transport: newTransport(where, config.TLS),
			// The service never redirects. Whoever does must not get the credential.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		url:       where.url(config.TLS != nil),
		tokenFile: config.CallerTokenFile,
		timeout:   config.Timeout,
	}, nil
}

// CloseIdleConnections closes the connections that no call uses.
func (c *Client) CloseIdleConnections() {
	c.http.CloseIdleConnections()
}

// Authenticate asks whether whoever presented the credential may join as this proxy.
//
// The credential is what the proxy presented, unchanged: in Kuma the gRPC metadata key "authorization" of the stream.
//
// The error is a [*DeniedError] or an [*UndecidedError]; see the package's description. The client does not retry,
// except over a new connection if the service closed an idle one.
func (c *Client) Authenticate(ctx context.Context, credential string, proxy Proxy) (*Decision, error) {
	return c.ask(ctx, call{Credential: credential, Proxy: &proxy})
}

// Identify asks who presented the credential. The service compares nothing then: the caller itself must compare the
// proxy's type, mesh, services, zone and label kuma.io/workload with the identity. Use [Client.Authenticate] if you can.
func (c *Client) Identify(ctx context.Context, credential string) (*Decision, error) {
	return c.ask(ctx, call{Credential: credential})
}

func (c *Client) ask(ctx context.Context, content call) (*Decision, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	requestID, err := newRequestID()
	if err != nil {
		return nil, &UndecidedError{Err: err}
	}
	request, err := c.newRequest(ctx, content, requestID)
	if err != nil {
		return nil, &UndecidedError{RequestID: requestID, Err: err}
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, &UndecidedError{RequestID: requestID, Err: causeOf(ctx, err)}
	}
	defer response.Body.Close()
	// The body is read to its end, since only then the connection can be used again.
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes+1))
	if err != nil {
		return nil, &UndecidedError{Status: response.StatusCode, RequestID: requestID, Err: causeOf(ctx, err)}
	}
	if len(body) > maxAnswerBytes {
		return nil, &UndecidedError{
			Status: response.StatusCode, RequestID: requestID,
			Err: fmt.Errorf("the answer has more than %d bytes", maxAnswerBytes),
		}
	}
	return read(response, body, requestID)
}

func (c *Client) newRequest(ctx context.Context, content call, requestID string) (*http.Request, error) {
	body, err := json.Marshal(content)
	if err != nil {
		return nil, errors.New("the call cannot be written as JSON")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the URL of the service is invalid")
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, application/problem+json")
	request.Header.Set("User-Agent", "kumaawsiam")
	request.Header.Set("X-Request-Id", requestID)
	// net/http sends a POST again over a new connection, if the service closed the idle one, only if the request is
	// marked as idempotent. A decision is. An empty list marks it and sends no header.
	request.Header["Idempotency-Key"] = nil
	if c.tokenFile != "" {
		token, err := readToken(c.tokenFile)
		if err != nil {
			return nil, err
		}
		request.Header.Set("Authorization", "Bearer "+token)
	}
	return request, nil
}

// read makes a decision or an error of an answer. Only an answer that fits in every respect decides.
func read(response *http.Response, body []byte, requestID string) (*Decision, error) {
	undecided := &UndecidedError{Status: response.StatusCode, RequestID: requestID, RetryAfter: retryAfter(response.Header)}
	switch media := mediaType(response.Header); {
	case response.StatusCode == http.StatusOK && media == "application/json":
		decision, err := parseDecision(body)
		if err == nil {
			err = checkRequestID(response.Header.Get("X-Request-Id"), requestID)
		}
		if err != nil {
			undecided.Err = err
			return nil, undecided
		}
		decision.RequestID = requestID
		return decision, nil
	case media == "application/problem+json":
		answer, err := parseProblem(body)
		if err == nil && answer.status != response.StatusCode {
			err = errors.New("the answer's member status is not its HTTP status")
		}
		if err != nil {
			undecided.Err = err
			return nil, undecided
		}
		undecided.Reason, undecided.Detail = answer.reason, answer.detail
		if !isDenial(response, answer) {
			return nil, undecided
		}
		if err := checkRequestID(answer.requestID, requestID); err != nil {
			undecided.Err = err
			return nil, undecided
		}
		return nil, &DeniedError{
			Status: answer.status, Reason: answer.reason, Detail: answer.detail, RequestID: requestID,
		}
	default:
		undecided.Err = errors.New("the answer is not one of kuma-aws-iam; check the address")
		return nil, undecided
	}
}

// isDenial tells a verdict on the proxy from a rejection of the caller: that one is a 401 too, with WWW-Authenticate.
func isDenial(response *http.Response, answer problem) bool {
	switch response.StatusCode {
	case http.StatusUnauthorized:
		return len(response.Header.Values("WWW-Authenticate")) == 0 && answer.reason != unknownCaller
	case http.StatusForbidden:
		return true
	default:
		return false
	}
}

// checkRequestID compares the id in the answer with the one in the call. If an answer ever got to the wrong call, on a
// connection that many calls share, one proxy would be admitted by the identity of another one.
func checkRequestID(answered, sent string) error {
	if answered != sent {
		return errors.New("the answer has the X-Request-Id of another call; nothing between client and service may change it")
	}
	return nil
}

func newRequestID() (string, error) {
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		return "", fmt.Errorf("no random request id: %w", err)
	}
	return hex.EncodeToString(random), nil
}

// causeOf returns the context's error, an error of the network or of TLS, or a fixed text. Other errors of net/http can
// quote what the peer sent, and a peer that is not the service may send the call back.
func causeOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var network *net.OpError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &network):
		return network
	case errors.As(err, &certificate):
		return certificate
	default:
		return errNoAnswer
	}
}

func mediaType(header http.Header) string {
	media, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return media
}

func retryAfter(header http.Header) time.Duration {
	seconds, err := strconv.ParseUint(header.Get("Retry-After"), 10, 16)
	if err != nil {
		return 0
	}
	wait := time.Duration(seconds) * time.Second
	if wait > maxRetryAfter {
		return maxRetryAfter
	}
	return wait
}
