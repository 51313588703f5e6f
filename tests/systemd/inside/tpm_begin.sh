step "a software TPM is there, for pid 1 and for the sealing unit"
device=mssim:host=127.0.0.1,port=2321
start_tpm() { systemd-run --quiet --collect --unit=swtpm-front /shared/swtpm_front "$1" 2321 && eventually 10 tpm_answers; }
tpm_answers() { TPM2TOOLS_TCTI=$device tpm2_pcrread sha256:7; }
mkdir -p /var/tmp/tpm-a /var/tmp/tpm-b
start_tpm /var/tmp/tpm-a
# A real TPM is a device file; this one is a port. The sealing unit gets a loopback network to reach it, and the keeper's
# packet filter lets loopback pass: systemd opens the credential in the keeper's cgroup, before its network is taken away.
mkdir -p /etc/systemd/system/reverie-agent-seal.service.d /etc/systemd/system/reverie-agent.service.d
printf '[Service]\nIPAddressAllow=localhost\n' > /etc/systemd/system/reverie-agent.service.d/software-tpm.conf
cat > /etc/systemd/system/reverie-agent-seal.service.d/software-tpm.conf <<UNIT
[Service]
Environment=SYSTEMD_TPM2_DEVICE=$device
PrivateNetwork=no
IPAddressAllow=localhost
RestrictAddressFamilies=AF_INET
UNIT
systemctl daemon-reload
cat >> /etc/reverie/agent.toml <<TOML

[seal]
mode = "$sealed_by"
tpm2_device = "$device"
TOML
export SYSTEMD_TPM2_DEVICE=$device
