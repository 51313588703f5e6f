step "a software TPM is there, for pid 1 and for the sealing unit"
device=mssim:host=127.0.0.1,port=2321
start_tpm() { systemd-run --quiet --collect --unit=swtpm-front /shared/swtpm_front --port 2321 "$1" && eventually 10 tpm_answers; }
tpm_answers() { TPM2TOOLS_TCTI=$device tpm2_pcrread sha256:7; }
mkdir -p /var/tmp/tpm-a /var/tmp/tpm-b
start_tpm /var/tmp/tpm-a
# A real TPM is a device file; this one is a port, so the sealing unit gets a loopback network to reach it.
mkdir -p /etc/systemd/system/reverie-agent-seal.service.d
cat > /etc/systemd/system/reverie-agent-seal.service.d/software-tpm.conf <<UNIT
[Service]
Environment=SYSTEMD_TPM2_DEVICE=$device TPM2TOOLS_TCTI=$device
PrivateNetwork=no
IPAddressAllow=localhost
RestrictAddressFamilies=AF_INET
UNIT
systemctl daemon-reload
export SYSTEMD_TPM2_DEVICE=$device
