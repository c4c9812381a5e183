package kumaawsiam

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Each error of [Client.Authenticate] and [Client.Identify] is exactly one of ErrDenied and ErrUndecided, for errors.Is.
var (
	// ErrDenied says that the service decided, and that the proxy may not join.
	ErrDenied = errors.New("kuma-aws-iam denied the proxy")

	// ErrUndecided says that nothing was decided about the proxy: neither admit nor refuse it.
	ErrUndecided = errors.New("kuma-aws-iam could not decide")

	// ErrWrongCall says that the service rejected the call itself: a retry of the same call fails as well. The
	// caller token is not accepted, the path does not exist, or the call is malformed. Such an error is also
	// ErrUndecided, since the service did not decide about the proxy.
	ErrWrongCall = errors.New("kuma-aws-iam rejected the call")
)

// DeniedError is the service's decision that a proxy may not join.
type DeniedError struct {
	// Status is 401 if the service or STS rejects the credential, and 403 if the role is known but not permitted.
	Status int

	// Reason is one of the service's closed set of reasons, for example "proxy_mesh_mismatch".
	Reason string

	// Detail is the reason's fixed sentence with its remedy. It contains nothing that the proxy sent.
	Detail string

	// RequestID finds the audit line of the decision.
	RequestID string
}

func (e *DeniedError) Error() string {
	return describe(ErrDenied, e.Reason, e.Detail, e.RequestID)
}

// Is reports whether the target is [ErrDenied].
func (e *DeniedError) Is(target error) bool {
	return target == ErrDenied
}

// UndecidedError says why nothing was decided.
type UndecidedError struct {
	// Status is the HTTP status, or 0 if there was no answer.
	Status int

	// Reason is the service's reason, for example "sts_throttled", or "" if the answer is not the service's own.
	Reason string

	// Detail is the reason's fixed sentence.
	Detail string

	// RequestID is the X-Request-Id of the call. It finds the lines of the service's log, if the call got there.
	RequestID string

	// RetryAfter is how long the service asks to wait before the next call, or 0 if it says nothing.
	RetryAfter time.Duration

	// Err is the cause if there is no complete answer: context.DeadlineExceeded, an error of the network, or what is
	// wrong with the answer. Otherwise it is nil.
	Err error
}

func (e *UndecidedError) Error() string {
	cause := e.Reason
	if cause == "" && e.Status != 0 {
		cause = fmt.Sprintf("HTTP status %d", e.Status)
	}
	detail := e.Detail
	if e.Err != nil {
		detail = e.Err.Error()
	}
	return describe(ErrUndecided, cause, detail, e.RequestID)
}

// Is reports whether the target is [ErrUndecided], or [ErrWrongCall] if the service rejected the call itself.
func (e *UndecidedError) Is(target error) bool {
	switch target {
	case ErrUndecided:
		return true
	case ErrWrongCall:
		return e.Status >= http.StatusBadRequest && e.Status < http.StatusInternalServerError
	default:
		return false
	}
}

// Unwrap returns the cause, so that errors.Is(err, context.DeadlineExceeded) works.
func (e *UndecidedError) Unwrap() error {
	return e.Err
}

func describe(kind error, cause, detail, requestID string) string {
	parts := []string{kind.Error()}
	for _, part := range []string{cause, detail} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	text := strings.Join(parts, ": ")
	if requestID != "" {
		text += " (request " + requestID + ")"
	}
	return text
}
