package kumaawsiam

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode"
	"unicode/utf8"
)

// Decision says that a proxy may join, and as what.
type Decision struct {
	Identity  Identity
	Principal Principal

	// ExpiresAt is when the decision ends, because the signature of the credential expires. It limits how long the
	// decision may be used for new streams; a stream that is open need not be closed then.
	ExpiresAt time.Time

	// RequestID finds the audit line of the decision.
	RequestID string
}

// Identity is what the tags of the role let the proxy be. A field is "" if the tag is absent or does not apply. Labels
// that the role pins are not here: the service has compared them with those of the [Proxy].
type Identity struct {
	Type     ProxyType
	Mesh     string
	Service  string
	Workload string
	Zone     string
}

// Principal is the IAM role that the proxy runs as.
type Principal struct {
	Partition string
	Account   string
	Role      string

	// RoleID changes when a role is deleted and made again.
	RoleID string

	// Session is chosen by whoever assumed the role; on ECS it is the task id. It proves nothing by itself.
	Session string
	ARN     string
}

// problem is an application/problem+json document of the service.
type problem struct {
	status    int
	reason    string
	detail    string
	requestID string
}

const (
	maxReasonLength    = 64
	maxDetailLength    = 512
	maxRequestIDLength = 128
)

var errIncomplete = errors.New("a member of the answer is missing or has another type")

func parseDecision(body []byte) (*Decision, error) {
	answer, err := parseObject(body)
	if err != nil {
		return nil, err
	}
	identity, err := parseObject(answer["identity"])
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	principal, err := parseObject(answer["principal"])
	if err != nil {
		return nil, fmt.Errorf("principal: %w", err)
	}
	var members reader
	decision := Decision{
		Identity: Identity{
			Type:     ProxyType(members.text(identity, "type")),
			Mesh:     members.textOrNull(identity, "mesh"),
			Service:  members.textOrNull(identity, "service"),
			Workload: members.textOrNull(identity, "workload"),
			Zone:     members.textOrNull(identity, "zone"),
		},
		Principal: Principal{
			Partition: members.text(principal, "partition"),
			Account:   members.text(principal, "account"),
			Role:      members.text(principal, "role"),
			RoleID:    members.text(principal, "roleId"),
			Session:   members.text(principal, "session"),
			ARN:       members.text(principal, "arn"),
		},
		ExpiresAt: members.time(answer, "expiresAt"),
	}
	switch decision.Identity.Type {
	case TypeDataplane, TypeIngress, TypeEgress:
	default:
		members.bad = true
	}
	if members.bad {
		return nil, errIncomplete
	}
	return &decision, nil
}

// parseProblem checks each text before it may get into an error: another server's answer can contain anything.
func parseProblem(body []byte) (problem, error) {
	answer, err := parseObject(body)
	if err != nil {
		return problem{}, err
	}
	var members reader
	parsed := problem{
		reason:    members.text(answer, "reason"),
		detail:    members.text(answer, "detail"),
		requestID: members.text(answer, "requestId"),
	}
	if json.Unmarshal(answer["status"], &parsed.status) != nil || members.bad ||
		!isReason(parsed.reason) || !isDetail(parsed.detail) || !isRequestID(parsed.requestID) {
		return problem{}, errIncomplete
	}
	return parsed, nil
}

func isReason(text string) bool {
	return len(text) <= maxReasonLength && consistsOf(text, func(r rune) bool {
		return r == '_' || r >= 'a' && r <= 'z'
	})
}

func isDetail(text string) bool {
	return len(text) <= maxDetailLength && consistsOf(text, unicode.IsPrint)
}

func isRequestID(text string) bool {
	return len(text) <= maxRequestIDLength && consistsOf(text, func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-'
	})
}

func consistsOf(text string, allowed func(rune) bool) bool {
	for _, r := range text {
		if !allowed(r) {
			return false
		}
	}
	return text != ""
}

type object map[string]json.RawMessage

// parseObject reads one JSON object with nothing behind it. It exists because encoding/json matches the members of a
// struct without regard to case, and takes the last of two equal members: another parser can then understand the same
// answer differently.
func parseObject(body []byte) (object, error) {
	if !utf8.Valid(body) {
		return nil, errors.New("the answer is not UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		return nil, errors.New("the answer is not a JSON object")
	}
	parsed := object{}
	for decoder.More() {
		// The first token of a member is its name: the decoder rejects anything else than a string there.
		name, err := decoder.Token()
		if err != nil {
			return nil, errors.New("the answer is not JSON")
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, errors.New("the answer is not JSON")
		}
		if _, twice := parsed[name.(string)]; twice {
			return nil, errors.New("a member of the answer occurs twice")
		}
		parsed[name.(string)] = value
	}
	if _, err := decoder.Token(); err != nil {
		return nil, errors.New("the answer is cut off")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something behind the answer")
	}
	return parsed, nil
}

// reader reads members of objects, and remembers whether one of them was missing or had another type.
type reader struct {
	bad bool
}

func (r *reader) text(from object, name string) string {
	value := from[name]
	var text string
	if len(value) == 0 || value[0] != '"' || json.Unmarshal(value, &text) != nil || text == "" {
		r.bad = true
	}
	return text
}

func (r *reader) textOrNull(from object, name string) string {
	if string(from[name]) == "null" {
		return ""
	}
	return r.text(from, name)
}

func (r *reader) time(from object, name string) time.Time {
	moment, err := time.Parse(time.RFC3339, r.text(from, name))
	if err != nil {
		r.bad = true
	}
	return moment
}
