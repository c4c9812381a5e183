package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const maxReply = 64 << 10

// askSTS forwards the request, and reads the answer.
func (s *Service) askSTS(ctx context.Context, request *Forwardable, trail *Trail) (principal *Principal, refusal *Refusal) {
	started := time.Now()
	defer func() {
		trail.STS.DurationMS = time.Since(started).Seconds() * 1000
		s.metrics.asked(&s.metrics.sts, refusal, time.Since(started).Seconds())
	}()
	call, err := http.NewRequestWithContext(ctx, http.MethodGet, s.settings.STS+request.target, nil)
	if err != nil {
		return nil, refuse(503, "sts_unavailable", "no request")
	}
	call.Host = request.host
	call.Header.Set("Accept", "application/json")
	call.Header.Set("User-Agent", "kuma-aws-iam")
	call.Header.Set(audienceHeader, s.settings.Audience)
	status, header, body, err := exchange(s.client, call)
	if err != nil {
		return nil, refuse(503, "sts_unavailable", "no answer of STS")
	}
	trail.STS.RequestID = header.Get("X-Amzn-Requestid")
	if status != http.StatusOK {
		return nil, stsRefusal(body)
	}
	var answer struct {
		Response struct {
			Result struct{ Account, Arn, UserId string } `json:"GetCallerIdentityResult"`
		} `json:"GetCallerIdentityResponse"`
	}
	mediaType, _, _ := strings.Cut(header.Get("Content-Type"), ";")
	if mediaType != "application/json" || json.Unmarshal(body, &answer) != nil {
		return nil, refuse(503, "sts_unavailable", "the answer of STS is not believed")
	}
	result := answer.Response.Result
	return readPrincipal(result.Account, result.Arn, result.UserId)
}

func stsRefusal(body []byte) *Refusal {
	var problem struct{ Error struct{ Code string } }
	_ = json.Unmarshal(body, &problem)
	switch problem.Error.Code {
	case "Throttling", "ThrottlingException", "RequestLimitExceeded":
		refusal := refuse(503, "sts_throttled", "STS throttles")
		refusal.retryAfter = 1
		return refusal
	case "ExpiredToken":
		return refuse(401, "session_expired", "the session is over")
	case "SignatureDoesNotMatch", "InvalidClientTokenId", "IncompleteSignature", "AccessDenied":
		return refuse(401, "sts_rejected", "STS does not vouch for it")
	}
	return refuse(503, "sts_unavailable", "an unknown answer of STS")
}

func exchange(client *http.Client, call *http.Request) (int, http.Header, []byte, error) {
	response, err := client.Do(call)
	if err != nil {
		return 0, nil, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxReply+1))
	if len(body) > maxReply {
		err = fmt.Errorf("over 64 KiB")
	}
	return response.StatusCode, response.Header, body, err
}

// iamClient reads roles of the service's own account, with a key that outlives the benchmark.
type iamClient struct {
	client      *http.Client
	url         string
	credentials struct{ AccessKeyId, SecretAccessKey, Token string }
}

func newIAM(client *http.Client, settings Settings) (*iamClient, error) {
	iam := &iamClient{client: client, url: settings.IAM}
	response, err := client.Get(settings.Credentials)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return iam, json.NewDecoder(response.Body).Decode(&iam.credentials)
}

func (c *iamClient) getRole(ctx context.Context, name string) (*Role, *Refusal) {
	form := url.Values{"Action": {"GetRole"}, "Version": {"2010-05-08"}, "RoleName": {name}}.Encode()
	call, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/", strings.NewReader(form))
	if err != nil {
		return nil, refuse(503, "iam_unavailable", "no request")
	}
	c.sign(call, form, time.Now().UTC())
	status, _, body, err := exchange(c.client, call)
	var role Role
	if err != nil || status != http.StatusOK || xml.Unmarshal(body, &role) != nil {
		return nil, refuse(503, "iam_unavailable", "IAM cannot be asked")
	}
	return &role, nil
}

// sign signs a POST with Signature Version 4 in its header form.
func (c *iamClient) sign(call *http.Request, body string, now time.Time) {
	stamp, scope := now.Format("20060102T150405Z"), now.Format("20060102")+"/us-east-1/iam/aws4_request"
	call.Host = "iam.amazonaws.com"
	call.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	call.Header.Set("X-Amz-Date", stamp)
	call.Header.Set("X-Amz-Security-Token", c.credentials.Token)
	names := "content-type;host;x-amz-date;x-amz-security-token"
	canonical := strings.Join([]string{
		"POST", "/", "", "content-type:application/x-www-form-urlencoded", "host:" + call.Host, "x-amz-date:" + stamp,
		"x-amz-security-token:" + c.credentials.Token, "", names, sha(body),
	}, "\n")
	key := []byte("AWS4" + c.credentials.SecretAccessKey)
	for _, part := range strings.Split(scope, "/") {
		key = mac(key, part)
	}
	signature := hex.EncodeToString(mac(key, "AWS4-HMAC-SHA256\n"+stamp+"\n"+scope+"\n"+sha(canonical)))
	call.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+c.credentials.AccessKeyId+"/"+scope+
		", SignedHeaders="+names+", Signature="+signature)
}

func sha(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func mac(key []byte, text string) []byte {
	made := hmac.New(sha256.New, key)
	made.Write([]byte(text))
	return made.Sum(nil)
}
