"""What groups did, added up: pure."""

from dataclasses import fields

from nanoclaw.model import NetworkCounts, NetworkDecision, TokenUsage


def counts_of(decision: NetworkDecision) -> NetworkCounts:
    """One decision as counts."""
    if decision.reason != "provider":
        return NetworkCounts(
            requests=1,
            refused=int(decision.verdict == "refused"),
            uploaded=decision.uploaded,
            downloaded=decision.downloaded,
        )
    usage = decision.usage or TokenUsage()
    return NetworkCounts(
        provider_requests=1,
        provider_uploaded=decision.uploaded,
        provider_downloaded=decision.downloaded,
        input_tokens=usage.input_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        output_tokens=usage.output_tokens,
    )


def added(one: NetworkCounts, other: NetworkCounts) -> NetworkCounts:
    """Both together."""
    names = [field.name for field in fields(NetworkCounts)]
    return NetworkCounts(**{name: getattr(one, name) + getattr(other, name) for name in names})
