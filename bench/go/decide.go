package main

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/http"
	"strings"
	"time"
)

const (
	maxIdentities = 100_000
	maxRoles      = 10_000
	roleTTL       = 5 * time.Minute
)

type digest [sha256.Size]byte

type roleKey struct{ partition, account, roleID, role string }

// Service holds the state of one process.
type Service struct {
	settings   Settings
	accounts   map[string]bool
	key        [32]byte
	identities *cache[digest, *Principal]
	roles      *cache[roleKey, *Role]
	client     *http.Client
	iam        *iamClient
	metrics    metrics
}

func newService(settings Settings) (*Service, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: 256, MaxConnsPerHost: 256, DisableCompression: true}
	service := &Service{
		settings:   settings,
		accounts:   map[string]bool{},
		identities: newCache[digest, *Principal](maxIdentities),
		roles:      newCache[roleKey, *Role](maxRoles),
		client: &http.Client{
			Transport:     transport,
			Timeout:       4 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	for _, account := range settings.Accounts {
		service.accounts[account] = true
	}
	if _, err := rand.Read(service.key[:]); err != nil {
		return nil, err
	}
	iam, err := newIAM(service.client, settings)
	service.iam = iam
	return service, err
}

// decide takes one decision, in the service's order: local rules, STS, account list, IAM, claim.
func (s *Service) decide(ctx context.Context, credential string, claim *Claim, trail *Trail) (*Approval, *Refusal) {
	host, values, refusal := decode(credential)
	if refusal != nil {
		return nil, refusal
	}
	trail.Form = "native"
	request, refusal := s.validate(host, values)
	if refusal != nil {
		return nil, refusal
	}
	now := time.Now()
	skew := request.signedAt.Sub(now).Seconds()
	trail.SignedAt, trail.Skew = &request.signedAt, &skew
	if refusal := requireFresh(request, now); refusal != nil {
		return nil, refusal
	}
	principal, refusal := s.identify(ctx, request, trail)
	if refusal != nil {
		return nil, refusal
	}
	trail.Principal = principal
	if !s.accounts[principal.Account] {
		return nil, refuse(403, "account_not_authorized", "the account is not in the list")
	}
	role, refusal := s.fetchRole(ctx, principal, trail)
	if refusal != nil {
		return nil, refusal
	}
	granted, refusal := match(role, principal, claim)
	if refusal != nil {
		return nil, refusal
	}
	trail.Granted = granted
	return &Approval{Identity: *granted, Principal: *principal, ExpiresAt: request.expires}, nil
}

func (s *Service) identify(ctx context.Context, request *Forwardable, trail *Trail) (*Principal, *Refusal) {
	key := s.digest(request)
	if known, ok := s.identities.get(key); ok {
		trail.STS.Cache = "hit"
		return known, nil
	}
	trail.STS.Cache = "miss"
	principal, refusal := s.askSTS(ctx, request, trail)
	if refusal == nil {
		s.identities.put(key, principal, request.expires)
	}
	return principal, refusal
}

func (s *Service) fetchRole(ctx context.Context, principal *Principal, trail *Trail) (*Role, *Refusal) {
	key := roleKey{principal.Partition, principal.Account, principal.RoleID, principal.Role}
	if known, ok := s.roles.get(key); ok {
		trail.IAM.Cache = "hit"
		return known, nil
	}
	trail.IAM.Cache = "miss"
	started := time.Now()
	role, refusal := s.iam.getRole(ctx, principal.Role)
	trail.IAM.DurationMS = time.Since(started).Seconds() * 1000
	s.metrics.asked(&s.metrics.iam, refusal, time.Since(started).Seconds())
	if refusal == nil {
		s.roles.put(key, role, time.Now().Add(roleTTL))
	}
	return role, refusal
}

// digest covers every byte of the rebuilt request, each part with its length.
func (s *Service) digest(request *Forwardable) digest {
	mac := hmac.New(sha256.New, s.key[:])
	var length [4]byte
	for _, part := range []string{"native", "GET", request.host, request.target, s.settings.Audience} {
		binary.BigEndian.PutUint32(length[:], uint32(len(part)))
		mac.Write(length[:])
		mac.Write([]byte(part))
	}
	var sum digest
	mac.Sum(sum[:0])
	return sum
}

// readPrincipal takes an assumed role out of what STS answered.
func readPrincipal(account, arn, userID string) (*Principal, *Refusal) {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[1] != "aws" || parts[4] != account || len(account) != 12 {
		return nil, refuse(503, "sts_unavailable", "the answer of STS is not believed")
	}
	resource := strings.Split(parts[5], "/")
	roleID, session, ok := strings.Cut(userID, ":")
	if parts[2] != "sts" || parts[3] != "" || len(resource) != 3 || resource[0] != "assumed-role" || !ok ||
		!strings.HasPrefix(roleID, "AROA") || !every(roleID, isKeyByte) || !every(resource[1], isRoleName) ||
		!every(resource[2], isRoleName) {
		return nil, refuse(403, "principal_not_a_role", "not a role")
	}
	if session != resource[2] {
		return nil, refuse(503, "sts_unavailable", "the answer of STS is not believed")
	}
	return &Principal{parts[1], account, resource[1], roleID, session, arn}, nil
}
