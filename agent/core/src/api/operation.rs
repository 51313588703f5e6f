//! Every operation of the API, once: the router is built from this list, and so is the OpenAPI document.

/// Which socket an operation is served on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// `agent.sock`, for every local process.
    Local,
    /// `admin.sock`, for administrators.
    Admin,
}

/// HTTP method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Read.
    Get,
    /// Do.
    Post,
    /// Replace.
    Put,
    /// Remove.
    Delete,
}

impl Method {
    /// As HTTP spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident: $surface:ident $method:ident $path:literal, $summary:literal;)*) => {
        /// One operation.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "each has its summary")]
        pub enum Operation { $($name,)* }

        impl Operation {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Where it is served.
            pub const fn surface(self) -> Surface {
                match self { $(Self::$name => Surface::$surface,)* }
            }

            /// HTTP method.
            pub const fn method(self) -> Method {
                match self { $(Self::$name => Method::$method,)* }
            }

            /// Path, with `{name}` for a parameter.
            pub const fn path(self) -> &'static str {
                match self { $(Self::$name => $path,)* }
            }

            /// One line for people.
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$name => $summary,)* }
            }

            /// The name in the OpenAPI document.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

/// The largest body of a request that holds some names, or a certificate request of 16 KiB in PEM.
const SMALL_BODY: usize = 32 * 1024;

impl Operation {
    /// The largest body it takes, in bytes. `configured` counts only where an administrator hands over a secret.
    pub fn max_body(self, configured: usize) -> usize {
        match (self, self.method()) {
            (Self::SealSecret, _) => configured,
            (_, Method::Get | Method::Delete) => 0,
            (_, Method::Post | Method::Put) => SMALL_BODY,
        }
    }
}

operations! {
    Whoami: Local Get "/v1/whoami", "Who the kernel says you are, and what you may have";
    ListIdentities: Local Get "/v1/identities", "Your identities";
    ShowIdentity: Local Get "/v1/identities/{name}", "One of your identities";
    IssueCertificate: Local Post "/v1/identities/{name}/certificates", "A certificate of your own, by a key made for you or by a CSR";
    ReadCertificate: Local Get "/v1/identities/{name}/certificate", "The certificate the agent keeps for this identity, with its key";
    RotateOwn: Local Post "/v1/identities/{name}/rotate", "Rotate the certificate the agent keeps; needs a capability token";
    RevokeOwn: Local Post "/v1/identities/{name}/revoke", "Revoke the identity's certificates; needs a capability token";
    Bundle: Local Get "/v1/bundle", "The roots to trust";
    Crl: Local Get "/v1/crl", "The revocation lists of this host's issuers";
    ListSecrets: Local Get "/v1/secrets", "Names of the secrets you may read";
    ReadSecret: Local Get "/v1/secrets/{name}", "A secret";
    Watch: Local Get "/v1/watch", "Server-sent events: your rotations, and changes of trust";
    OpenApi: Local Get "/v1/openapi.json", "This document";

    Status: Admin Get "/api/admin/status", "The agent's state and alarms";
    AllIdentities: Admin Get "/api/admin/identities", "Every declared identity";
    Explain: Admin Post "/api/admin/explain", "Which rules match a process, and which come nearest";
    Certificates: Admin Get "/api/admin/certificates", "Issued certificates that have not ended";
    Rotate: Admin Post "/api/admin/rotate", "Rotate an identity now: issue, publish, reload, verify";
    Revoke: Admin Post "/api/admin/revoke", "Revoke a leaf, an identity or an intermediate";
    RotateIssuer: Admin Post "/api/admin/ca/rotate", "Make a successor of the root or the intermediate";
    ListAllSecrets: Admin Get "/api/admin/secrets", "Every secret, without values";
    SealSecret: Admin Put "/api/admin/secrets/{name}", "Seal a secret, or replace it";
    RevealSecret: Admin Get "/api/admin/secrets/{name}", "A secret's value, recorded in the audit log";
    RemoveSecret: Admin Delete "/api/admin/secrets/{name}", "Remove a secret";
    MintToken: Admin Post "/api/admin/tokens", "Mint a capability token";
    RevokeToken: Admin Post "/api/admin/tokens/revoke", "Revoke a capability token and everything attenuated from it";
    TokenKey: Admin Get "/api/admin/tokens/key", "The public key that verifies tokens";
    AuditLines: Admin Get "/api/admin/audit", "Lines of the audit log";
    AuditVerify: Admin Get "/api/admin/audit/verify", "Check the audit log";
    Mesh: Admin Get "/api/admin/mesh", "The mesh as this host sees it";
    InitMesh: Admin Post "/api/admin/mesh/init", "Found a mesh: this host becomes its first authority";
    Invite: Admin Post "/api/admin/mesh/invites", "A one-time token for a host to join";
    JoinMesh: Admin Post "/api/admin/mesh/join", "Join a mesh, by token or by Kerberos";
    Promote: Admin Post "/api/admin/mesh/promote", "Make a member an authority";
    Evict: Admin Post "/api/admin/mesh/evict", "Put a host out, and revoke what it holds";
    Readmit: Admin Post "/api/admin/mesh/readmit", "A one-time token for a host that lost its keys or was put out";
    LeaveMesh: Admin Post "/api/admin/mesh/leave", "Leave the mesh";
    RotateMesh: Admin Post "/api/admin/mesh/rotate", "Rotate the wrapping key or this host's own keys";
    ResumeMesh: Admin Post "/api/admin/mesh/resume", "Write again after a restore or a copy, in a new epoch";
    SetIssuingLimits: Admin Put "/api/admin/mesh/limits/{node}", "What a host may issue";
    PutClient: Admin Put "/api/admin/clients/{id}", "Make a client known to every host";
    RemoveClient: Admin Delete "/api/admin/clients/{id}", "Forget a client";
    Tunnels: Admin Get "/api/admin/tunnels", "Every declared tunnel, and what it counts";
    Health: Admin Get "/health", "Is the agent alive?";
    Ready: Admin Get "/ready", "Can it issue?";
    Metrics: Admin Get "/metrics", "Prometheus metrics";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_secret_to_seal_may_be_as_large_as_configured() {
        for &operation in Operation::ALL {
            let expected = match (operation, operation.method()) {
                (Operation::SealSecret, _) => 1_000_000,
                (_, Method::Post | Method::Put) => 32 * 1024,
                _ => 0,
            };
            assert_eq!(operation.max_body(1_000_000), expected, "{operation:?}");
        }
    }
}
