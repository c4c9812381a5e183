package kumaawsiam

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAddressesAsInTheServicesSetting(t *testing.T) {
	for address, url := range map[string]string{
		"127.0.0.1:5690":   "http://127.0.0.1:5690/v1/authenticate",
		"localhost:5690":   "http://localhost:5690/v1/authenticate",
		"[::1]:5690":       "http://[::1]:5690/v1/authenticate",
		"unix:/run/a.sock": "http://localhost/v1/authenticate",
	} {
		client, err := New(Config{Address: address})
		if err != nil {
			t.Fatalf("%s: %v", address, err)
		}
		if client.url != url {
			t.Fatalf("%s: %s", address, client.url)
		}
	}
	client, err := New(Config{Address: "kuma-aws-iam.internal:5690", TLS: &tls.Config{}})
	if err != nil || client.url != "https://kuma-aws-iam.internal:5690/v1/authenticate" {
		t.Fatalf("%v, %v", client, err)
	}
}

func TestARefusedConfigNamesTheField(t *testing.T) {
	short := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(short, []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, refused := range map[string]struct {
		config Config
		field  string
	}{
		"nothing":                      {Config{}, "Address"},
		"a URL":                        {Config{Address: "http://127.0.0.1:5690"}, "Address"},
		"a path":                       {Config{Address: "127.0.0.1:5690/v1"}, "Address"},
		"a user":                       {Config{Address: "user@127.0.0.1:5690"}, "Address"},
		"no port":                      {Config{Address: "127.0.0.1"}, "Address"},
		"no host":                      {Config{Address: ":5690"}, "Address"},
		"a relative socket":            {Config{Address: "unix:api.sock"}, "Address"},
		"another host in clear":        {Config{Address: "10.0.0.7:5690"}, "TLS"},
		"another name in clear":        {Config{Address: "localhost.example.org:5690"}, "TLS"},
		"TLS that verifies nothing":    {Config{Address: "10.0.0.7:5690", TLS: &tls.Config{InsecureSkipVerify: true}}, "TLS"},
		"TLS to a socket without name": {Config{Address: "unix:/run/a.sock", TLS: &tls.Config{}}, "TLS.ServerName"},
		"a negative timeout":           {Config{Address: "127.0.0.1:5690", Timeout: -1}, "Timeout"},
		"no token file":                {Config{Address: "127.0.0.1:5690", CallerTokenFile: "/no/such/file"}, "CallerTokenFile"},
		"a short token":                {Config{Address: "127.0.0.1:5690", CallerTokenFile: short}, "CallerTokenFile"},
	} {
		if _, err := New(refused.config); err == nil || !strings.Contains(err.Error(), refused.field) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLoadTLSRefusesFilesThatDoNotWork(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, files := range [][3]string{{"/no/such/file", "", ""}, {empty, "", ""}, {"", empty, empty}, {"", empty, ""}} {
		if _, err := LoadTLS(files[0], files[1], files[2]); err == nil {
			t.Errorf("%v is accepted", files)
		}
	}
}
