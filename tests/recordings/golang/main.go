// Sign sts:GetCallerIdentity with the AWS SDK for Go v2 and with consul-awsauth's client, and print what comes of it as JSON.
// Nothing is sent. by_golang.py builds and runs this program; the made-up credentials are in AWS_* variables.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"log"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	iamauth "github.com/hashicorp/consul-awsauth"
)

const (
	region   = "us-east-1"
	endpoint = "https://sts.us-east-1.amazonaws.com/"
	body     = "Action=GetCallerIdentity&Version=2011-06-15"
)

type recording struct {
	Case       string      `json:"case"`
	Tool       string      `json:"tool"`
	Version    string      `json:"version"`
	How        string      `json:"how"`
	Method     string      `json:"method"`
	URL        string      `json:"url"`
	Headers    http.Header `json:"headers"`
	Body       string      `json:"body"`
	Form       string      `json:"form"`
	Credential string      `json:"credential"`
}

func main() {
	audience := os.Args[1]
	provider := credentials.NewStaticCredentialsProvider(
		os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), os.Getenv("AWS_SESSION_TOKEN"))
	recordings := []recording{consul(provider, audience), byHand(provider, audience)}
	check(json.NewEncoder(os.Stdout).Encode(recordings))
}

// consul lets consul-awsauth make its login data, with the name of the audience header that Vault has.
func consul(provider aws.CredentialsProvider, audience string) recording {
	login, err := iamauth.GenerateLoginData(&iamauth.LoginInput{
		Creds:               provider,
		STSRegion:           region,
		ServerIDHeaderName:  "X-Vault-AWS-IAM-Server-ID",
		ServerIDHeaderValue: audience,
	})
	check(err)
	envelope, err := json.Marshal(login)
	check(err)
	var headers http.Header
	check(json.Unmarshal(decoded(login["iam_request_headers"]), &headers))
	return recording{
		Case:       "consul-awsauth",
		Tool:       "consul-awsauth",
		Version:    version("github.com/hashicorp/consul-awsauth"),
		How:        "iamauth.GenerateLoginData(STSRegion us-east-1, ServerIDHeaderName X-Vault-AWS-IAM-Server-ID)",
		Method:     login["iam_http_request_method"].(string),
		URL:        string(decoded(login["iam_request_url"])),
		Headers:    headers,
		Body:       string(decoded(login["iam_request_body"])),
		Form:       "envelope, made by the tool",
		Credential: string(envelope),
	}
}

// byHand signs a net/http request with the SDK's signer, and writes what that request says as a plain envelope.
func byHand(provider aws.CredentialsProvider, audience string) recording {
	request, err := http.NewRequest(http.MethodPost, endpoint, strings.NewReader(body))
	check(err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	request.Header.Set("X-Kuma-Audience", audience)
	keys, err := provider.Retrieve(context.Background())
	check(err)
	digest := sha256.Sum256([]byte(body))
	check(v4.NewSigner().SignHTTP(
		context.Background(), keys, request, hex.EncodeToString(digest[:]), "sts", region, time.Now()))
	envelope, err := json.Marshal(map[string]any{
		"method": request.Method, "url": request.URL.String(), "headers": request.Header, "body": body})
	check(err)
	return recording{
		Case:       "aws-sdk-go-v2-post",
		Tool:       "aws-sdk-go-v2",
		Version:    version("github.com/aws/aws-sdk-go-v2"),
		How:        "v4.NewSigner().SignHTTP on http.NewRequest(POST, " + endpoint + ", headers of Content-Type, X-Kuma-Audience)",
		Method:     request.Method,
		URL:        request.URL.String(),
		Headers:    request.Header,
		Body:       body,
		Form:       "plain envelope, assembled",
		Credential: string(envelope),
	}
}

func decoded(member any) []byte {
	text, err := base64.StdEncoding.DecodeString(member.(string))
	check(err)
	return text
}

func version(module string) string {
	info, _ := debug.ReadBuildInfo()
	for _, dependency := range info.Deps {
		if dependency.Path == module {
			return dependency.Version
		}
	}
	return "unknown"
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
