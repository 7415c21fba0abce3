// Package localissuer is an OpenID provider for tests and for trying out: it signs
// whatever it is asked to, and so is never to be reached from beyond this machine.
//
// One provider is several issuers that share their keys, as those of Entra ID do:
//
//   - <base>/oidc: a plain one
//   - <base>/<tenant>/v2.0 and <base>/sts/<tenant>/: the two of each tenant, for
//     Issuer.EntraURL <base> and Issuer.EntraV1URL <base>/sts
//
// Each has a discovery document where it belongs, and <base>/common/v2.0 one that names no
// issuer that exists, as Entra's does.
//
// Keys can be rotated and withdrawn, the whole provider can be out of order, and what is
// fetched is counted.
package localissuer
