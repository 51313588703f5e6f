//! The program of docs/guides/rust.md.

use spiffe::{WorkloadApiClient, X509Source};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let source = X509Source::new().await?;
    println!("I am {}", source.svid()?.spiffe_id());

    // The source follows every rotation; who keeps a connection for long asks it again.
    let mut updates = source.updated();
    tokio::spawn(async move {
        while updates.changed().await.is_ok() {
            println!("I have a new certificate");
        }
    });

    // All identities, told apart by their hints.
    let client = WorkloadApiClient::connect_env().await?;
    for svid in client.fetch_all_x509_svids().await? {
        println!("{}: {}", svid.hint().unwrap_or("no hint"), svid.spiffe_id());
    }

    let token = client.fetch_jwt_svid(["db"], None).await?;
    // The other side has the agent verify it; an audience that the token does not have is an error.
    let validated = client.validate_jwt_token("db", token.token()).await?;
    println!("a token for db, of {}", validated.spiffe_id());
    source.shutdown().await;
    Ok(())
}
