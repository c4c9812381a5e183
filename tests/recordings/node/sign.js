// Sign sts:GetCallerIdentity with npm's aws4 and print what comes of it as JSON. Nothing is sent. by_node.py runs this program;
// the made-up credentials are in AWS_* variables, which aws4 reads by itself.
'use strict'

const aws4 = require('aws4')
const { version } = require('aws4/package.json')

const [audience] = process.argv.slice(2)
const base64 = (text) => Buffer.from(text).toString('base64')

// The host is aws4's own where none is given: to it STS has one region, so it is the global endpoint.
function sign(name, header, host) {
  const given = {
    service: 'sts',
    region: 'us-east-1',
    method: 'POST',
    path: '/',
    headers: { [header]: audience },
    body: 'Action=GetCallerIdentity&Version=2011-06-15',
    ...(host && { host }),
  }
  const how = `aws4.sign({service: 'sts', region: 'us-east-1', method: 'POST', path: '/', headers of ${header}, body${host ? ', host' : ''}})`
  const { method, path, headers, body } = aws4.sign(given)
  return { case: `aws4-${name}`, tool: 'aws4', version, how, method, url: `https://${headers.Host}${path}`, headers, body }
}

function plain(signed) {
  const { method, url, headers, body } = signed
  return { ...signed, form: 'plain envelope, assembled', credential: JSON.stringify({ method, url, headers, body }) }
}

function vault(signed) {
  const credential = JSON.stringify({
    iam_http_request_method: signed.method,
    iam_request_url: base64(signed.url),
    iam_request_body: base64(signed.body),
    iam_request_headers: base64(JSON.stringify(signed.headers)),
  })
  return { ...signed, form: 'envelope, assembled', credential }
}

const recordings = [
  plain(sign('post', 'X-Kuma-Audience', 'sts.us-east-1.amazonaws.com')),
  plain(sign('post-global', 'X-Kuma-Audience')),
  vault(sign('vault-envelope', 'X-Vault-AWS-IAM-Server-ID', 'sts.us-east-1.amazonaws.com')),
]
process.stdout.write(JSON.stringify(recordings))
