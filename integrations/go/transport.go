package kumaawsiam

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	// The service closes a connection that is idle for 75 s. A client that closes it earlier never sends a call into a
	// connection that is just being closed.
	idleTimeout = 60 * time.Second

	// Idle connections to keep, so that calls that come together again find their connections. The number of
	// connections in use has no limit: calls come in bursts, and the service has its own bounds.
	maxIdleConnections = 256

	maxHeadBytes = 32 << 10

	minTokenLength = 32
	maxTokenLength = 512
)

// Config says where the service is, and how a caller proves itself there.
type Config struct {
	// Address is where the service listens, written as in its setting KMESH_AWSIAM_LISTEN: "127.0.0.1:5690",
	// "[::1]:5690", "kuma-aws-iam.internal:5690", or "unix:/run/kuma-aws-iam/api.sock". Required.
	Address string

	// TLS turns TLS on. [LoadTLS] makes it from files. An address that is neither a loopback address nor a Unix socket
	// requires it, since the credential is a secret. With a Unix socket, ServerName must be set.
	TLS *tls.Config

	// CallerTokenFile names the file with the caller token, if the service requires one. Its first line that is neither
	// empty nor a comment (#) is sent. It is read for each call, so that a token is exchanged without a restart.
	CallerTokenFile string

	// Timeout bounds each call, from the connection to the last byte of the answer. 0 means 11 s: one second more than
	// the service takes for a decision at most (KMESH_AWSIAM_DECISION_TIMEOUT). An earlier deadline of the call's
	// context counts.
	Timeout time.Duration
}

// LoadTLS makes the TLS settings of a client from PEM files.
//
// The service's certificate must be issued by an authority in caFile, or by one of the system if caFile is "". If
// certFile and keyFile are given, the client presents this certificate. Both files are read for each TLS handshake, so
// that a certificate is exchanged without a restart; caFile is read once.
func LoadTLS(caFile, certFile, keyFile string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("kumaawsiam: the file of authorities cannot be read: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("kumaawsiam: %s contains no certificate", caFile)
		}
	}
	if certFile == "" && keyFile == "" {
		return config, nil
	}
	if _, err := tls.LoadX509KeyPair(certFile, keyFile); err != nil {
		return nil, fmt.Errorf("kumaawsiam: the client certificate cannot be used: %w", err)
	}
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		certificate, err := tls.LoadX509KeyPair(certFile, keyFile)
		return &certificate, err
	}
	return config, nil
}

// endpoint is a checked address.
type endpoint struct {
	network string // "tcp" or "unix"
	address string // host:port, or a path
	host    string // for the URL; the name in the service's certificate, except for a Unix socket
}

func parseAddress(address string) (endpoint, error) {
	if path := strings.TrimPrefix(address, "unix:"); path != address {
		if !strings.HasPrefix(path, "/") {
			return endpoint{}, errors.New("kumaawsiam: Address: the path of a Unix socket begins with /; write unix:/path")
		}
		return endpoint{network: "unix", address: path, host: "localhost"}, nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || port == "" || strings.ContainsAny(address, "/@?#") {
		return endpoint{}, errors.New("kumaawsiam: Address must be host:port or unix:/path, without http:// and without a path")
	}
	return endpoint{network: "tcp", address: address, host: address}, nil
}

func (e endpoint) isLocal() bool {
	if e.network == "unix" {
		return true
	}
	host, _, _ := net.SplitHostPort(e.address)
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (e endpoint) url(overTLS bool) string {
	scheme := "http"
	if overTLS {
		scheme = "https"
	}
	return (&url.URL{Scheme: scheme, Host: e.host, Path: path}).String()
}

func checkTLS(where endpoint, config *tls.Config) error {
	if config == nil {
		if !where.isLocal() {
			return errors.New("kumaawsiam: TLS is required for an Address that is neither loopback nor a Unix socket; " +
				"set TLS, for example from LoadTLS")
		}
		return nil
	}
	if config.InsecureSkipVerify && config.VerifyConnection == nil {
		return errors.New("kumaawsiam: TLS must verify the service's certificate; " +
			"unset InsecureSkipVerify, or set VerifyConnection")
	}
	if where.network == "unix" && config.ServerName == "" {
		return errors.New("kumaawsiam: TLS over a Unix socket needs TLS.ServerName, the name in the service's certificate")
	}
	return nil
}

// newTransport makes a transport that sends nothing anywhere else: no proxy of the environment, no compression.
func newTransport(where endpoint, config *tls.Config) *http.Transport {
	dialer := &net.Dialer{}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, where.network, where.address)
		},
		MaxIdleConns:           maxIdleConnections,
		MaxIdleConnsPerHost:    maxIdleConnections,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeadBytes,
		DisableCompression:     true,
	}
	if config != nil {
		transport.TLSClientConfig = config.Clone()
	}
	return transport
}

// readToken returns the first token of a file of caller tokens. Its errors contain no line of the file.
func readToken(file string) (string, error) {
	opened, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("the file of the caller token cannot be read: %w", err)
	}
	defer opened.Close()
	lines := bufio.NewScanner(opened)
	for lines.Scan() {
		// As the service reads the file: a comment may stand on a token's line, and no token contains #.
		words := strings.Fields(lines.Text())
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		token := words[0]
		hasMore := len(words) > 1 && !strings.HasPrefix(words[1], "#")
		if hasMore || len(token) < minTokenLength || len(token) > maxTokenLength || !consistsOf(token, isVisible) {
			return "", fmt.Errorf("%s: a caller token has %d to %d visible ASCII characters without #", file, minTokenLength, maxTokenLength)
		}
		return token, nil
	}
	return "", fmt.Errorf("%s contains no caller token", file)
}

func isVisible(r rune) bool {
	return r > ' ' && r <= '~' && r != '#'
}
