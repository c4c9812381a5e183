package main

import (
	"encoding/base64"
	"sort"
	"strconv"
	"strings"
	"time"
)

const (
	nativePrefix   = "kuma-aws-v1."
	audienceHeader = "x-kuma-audience"
	maxCredential  = 12 << 10
	maxTarget      = 15000
	maxLifetime    = 900
	maxFutureSkew  = 5 * time.Minute
)

// The nine parameters of a presigned URL, in SigV4's order.
var parameters = []string{
	"Action", "Version", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-Security-Token",
	"X-Amz-Signature", "X-Amz-SignedHeaders",
}

// Headers that bind a signed request to somebody: ours, and others'.
var audienceHeaders = map[string]bool{
	audienceHeader: true, "x-k8s-aws-id": true, "x-vault-aws-iam-server-id": true, "x-consul-iam-serverid": true,
	"x-teleport-challenge": true,
}

// Forwardable is a request that obeys every local rule, rebuilt from its parsed values.
type Forwardable struct {
	host     string
	target   string
	signedAt time.Time
	expires  time.Time
}

// decode takes a native credential apart: the URL's host, and its nine parameters.
func decode(text string) (string, map[string]string, *Refusal) {
	if len(text) > maxCredential || !every(text, func(c byte) bool { return c < 0x80 }) {
		return "", nil, malformed("over 12 KiB, or not ASCII")
	}
	encoded, native := strings.CutPrefix(text, nativePrefix)
	if !native {
		return "", nil, malformed("not in the native form")
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return "", nil, malformed("not unpadded base64url")
	}
	url := string(raw)
	if !every(url, func(c byte) bool { return isVisible(c) && c != '#' && c != '\\' }) {
		return "", nil, malformed("a character that no URL of STS has")
	}
	scheme, rest, ok := strings.Cut(url, "://")
	before, query, asked := strings.Cut(rest, "?")
	if !ok || scheme != "https" || !asked {
		return "", nil, malformed("not an https URL with a query")
	}
	host, path, _ := strings.Cut(before, "/")
	if path != "" {
		return "", nil, malformed("the path is not /")
	}
	values, refusal := parseQuery(query)
	return host, values, refusal
}

func parseQuery(query string) (map[string]string, *Refusal) {
	values := make(map[string]string, len(parameters))
	for _, pair := range strings.Split(query, "&") {
		name, value, ok := strings.Cut(pair, "=")
		at := sort.SearchStrings(parameters, name)
		if !ok || at == len(parameters) || parameters[at] != name {
			return nil, malformed("a parameter that does not belong there")
		}
		if _, twice := values[name]; twice {
			return nil, malformed("a parameter stands twice")
		}
		decoded, ok := percentDecode(value)
		if !ok {
			return nil, malformed("a value is not percent-encoded")
		}
		values[name] = decoded
	}
	if len(values) != len(parameters) {
		return nil, malformed("a parameter is missing")
	}
	return values, nil
}

// validate applies the rules that depend on the credential and the settings alone.
func (s *Service) validate(host string, values map[string]string) (*Forwardable, *Refusal) {
	region, known := s.settings.Endpoints[host]
	if !known {
		return nil, refuse(401, "host_not_allowed", "none of the accepted STS hosts")
	}
	if values["Action"] != "GetCallerIdentity" || values["Version"] != "2011-06-15" {
		return nil, malformed("not GetCallerIdentity")
	}
	signature := values["X-Amz-Signature"]
	if values["X-Amz-Algorithm"] != "AWS4-HMAC-SHA256" || len(signature) != 64 || !every(signature, isLowerHex) {
		return nil, malformed("not SigV4")
	}
	token := values["X-Amz-Security-Token"]
	if len(token) == 0 || len(token) > 8192 || !every(token, isTokenByte) {
		return nil, malformed("the session token breaks its grammar")
	}
	names := strings.Split(values["X-Amz-SignedHeaders"], ";")
	bound := 0
	for at, name := range names {
		if name == "" || len(name) > 64 || !every(name, isHeaderByte) || (at > 0 && names[at-1] >= name) {
			return nil, malformed("SignedHeaders is not canonical")
		}
		if audienceHeaders[name] {
			bound++
		} else if name != "host" {
			return nil, malformed("a signed header does not belong there")
		}
	}
	if names[0] != "host" {
		return nil, malformed("host is not signed")
	}
	if bound == 0 {
		return nil, refuse(401, "audience_missing", "no audience header is signed")
	}
	if bound != 1 || names[1] != audienceHeader {
		return nil, refuse(401, "audience_mismatch", "an audience header of another form")
	}
	date := values["X-Amz-Date"]
	signedAt, err := time.Parse("20060102T150405Z", date)
	seconds, number := strconv.Atoi(values["X-Amz-Expires"])
	if err != nil || number != nil || seconds < 1 || seconds > maxLifetime || values["X-Amz-Expires"][0] == '0' {
		return nil, malformed("date or expiry breaks its grammar")
	}
	scope := strings.Split(values["X-Amz-Credential"], "/")
	if len(scope) != 5 || len(scope[0]) < 16 || len(scope[0]) > 128 || !every(scope[0], isKeyByte) {
		return nil, malformed("the scope breaks its grammar")
	}
	if scope[1] != date[:8] || scope[2] != region || scope[3] != "sts" || scope[4] != "aws4_request" {
		return nil, refuse(401, "scope_mismatch", "the scope is not that of the host and the date")
	}
	target := rebuild(values)
	if len(target) > maxTarget {
		return nil, malformed("longer than STS takes")
	}
	return &Forwardable{host, target, signedAt, signedAt.Add(time.Duration(seconds) * time.Second)}, nil
}

// requireFresh applies the one rule that depends on the clock.
func requireFresh(request *Forwardable, now time.Time) *Refusal {
	if now.After(request.expires) {
		return refuse(401, "credential_expired", "its time is over")
	}
	if request.signedAt.Sub(now) > maxFutureSkew {
		return refuse(401, "credential_not_yet_valid", "signed in the future")
	}
	return nil
}

// rebuild writes the query anew from its values, in SigV4's canonical way.
func rebuild(values map[string]string) string {
	var target strings.Builder
	target.Grow(2048)
	target.WriteString("/?")
	for at, name := range parameters {
		if at > 0 {
			target.WriteByte('&')
		}
		target.WriteString(name)
		target.WriteByte('=')
		percentEncode(&target, values[name])
	}
	return target.String()
}
