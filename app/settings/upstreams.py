"""How the service reaches STS and IAM."""

from typing import Annotated, Literal

from pydantic import BeforeValidator

from app.settings.parsing import SettingsGroup, setting
from app.settings.values import parse_ca_file, parse_endpoint_url, parse_proxy_url


class UpstreamSettings(SettingsGroup):
    """The connection to AWS. Its variables are the SDK's own, except the proxy's."""

    https_proxy: Annotated[str | None, BeforeValidator(parse_proxy_url)] = setting(
        "KMESH_AWSIAM_HTTPS_PROXY",
        "The URL of one proxy towards STS and IAM. `HTTPS_PROXY` and similar variables are ignored, with a warning.",
    )
    aws_region: str | None = setting(
        "AWS_REGION",
        "The region of the service's own calls. Unset: `AWS_DEFAULT_REGION`, else the partition's own (`us-east-1` "
        "in `aws`). It must belong to `KMESH_AWSIAM_PARTITION`.",
    )
    aws_default_region: str | None = setting(
        "AWS_DEFAULT_REGION", "The region of the service's own calls, if `AWS_REGION` is unset."
    )
    sts_endpoint_url: Annotated[str | None, BeforeValidator(parse_endpoint_url)] = setting(
        "AWS_ENDPOINT_URL_STS",
        "Send requests to STS to this URL: a VPC endpoint, an emulator. The signed `Host` header is unchanged, and "
        "TLS is verified against the URL's host name. Plain `http` is allowed only to loopback, with a warning, "
        "because the service trusts whatever listens there as if it were AWS.",
    )
    iam_endpoint_url: Annotated[str | None, BeforeValidator(parse_endpoint_url)] = setting(
        "AWS_ENDPOINT_URL_IAM",
        "Send requests to IAM to this URL. The rule for plain `http` is the same.",
    )
    endpoint_url: Annotated[str | None, BeforeValidator(parse_endpoint_url)] = setting(
        "AWS_ENDPOINT_URL",
        "The URL for both STS and IAM, if their own variable is unset.",
    )
    ignore_endpoint_urls: bool = setting(
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
        "Ignore `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_STS` and `AWS_ENDPOINT_URL_IAM`, as SDKs do.",
        default=False,
    )
    use_fips: bool = setting(
        "AWS_USE_FIPS_ENDPOINT",
        "Make the service's own calls to the FIPS endpoints of STS and IAM. Forwarded requests go to the host that "
        "they are signed for.",
        default=False,
    )
    use_dual_stack: bool = setting(
        "AWS_USE_DUALSTACK_ENDPOINT",
        "Make the service's own calls to the dual-stack (IPv6) endpoints of STS and IAM.",
        default=False,
    )
    ca_bundle: Annotated[str | None, BeforeValidator(parse_ca_file)] = setting(
        "AWS_CA_BUNDLE",
        "A PEM file of the only certificates to trust for STS and IAM. Unset: those of the Python package certifi. "
        "`SSL_CERT_FILE`, `SSL_CERT_DIR` and `REQUESTS_CA_BUNDLE` are ignored.",
    )

    @property
    def own_sts_url(self) -> str | None:
        """The URL to which requests to STS are sent; None if they are sent to the host that they are signed for."""
        return None if self.ignore_endpoint_urls else self.sts_endpoint_url or self.endpoint_url

    @property
    def own_iam_url(self) -> str | None:
        """The URL to which requests to IAM are sent; None if they are sent to IAM's own endpoint."""
        return None if self.ignore_endpoint_urls else self.iam_endpoint_url or self.endpoint_url

    @property
    def upstreams_without_tls(self) -> tuple[Literal["sts", "iam"], ...]:
        """Which of STS and IAM the service calls without TLS, on loopback. Nothing proves that AWS answers such calls."""
        urls: dict[Literal["sts", "iam"], str | None] = {"sts": self.own_sts_url, "iam": self.own_iam_url}
        return tuple(name for name, url in urls.items() if url is not None and url.startswith("http:"))
