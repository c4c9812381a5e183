// Package kumaawsiam asks the service kuma-aws-iam whether a proxy may join a mesh of Kuma or Kong Mesh.
//
// A proxy presents a signed sts:GetCallerIdentity request as its credential. A control plane sends this credential, and
// what it knows about the proxy, to POST /v1/authenticate of the service. This package is the client of that call. It
// needs the standard library alone and knows nothing about Kuma; integrations/go/kuma has the code that registers it in
// a control plane.
//
// There are three kinds of answer, and a caller must tell them apart:
//
//   - Allowed: [Client.Authenticate] returns a [Decision] and no error.
//   - Denied: errors.Is(err, ErrDenied), and errors.As finds a [DeniedError]. The service has decided. A retry gets the
//     same answer until somebody changes the role, a setting of the service, or the proxy.
//   - Undecided: errors.Is(err, ErrUndecided), and errors.As finds an [UndecidedError]. AWS or the network failed, there
//     were too many calls at once, or the call was wrong. This is neither a denial nor an approval: do not admit the
//     proxy, and let it try again.
//
// Every error of the package is one of the last two. Nothing else than an answer that the package understands completely
// is an approval or a denial: a 200 of another server, a 401 of a gateway, an answer that is cut off, and an answer to
// another call are undecided.
//
// No error contains the credential, the caller token, or a text that the proxy chose. The package writes no log.
package kumaawsiam
