"""The fleet's counters and gauges in Prometheus' text form. Which there are, the fleet says; no label names a loop."""

from opsd.api.seams import Metrics

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(metrics: Metrics) -> str:
    """One `# TYPE` line and the samples per metric, names sorted; a name that ends in `_total` is a counter.

    A labelled metric is keyed by label names and values in turn: `("health", "healthy", "transport", "local")`.
    """
    lines = []
    for name, value in sorted(metrics.items()):
        lines.append(f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}")
        if isinstance(value, (int, float)):
            lines.append(f"{name} {_number(value)}")
        else:
            lines += [f"{name}{{{_labels(key)}}} {_number(each)}" for key, each in sorted(value.items())]
    return "\n".join(lines) + "\n"


def _labels(key: tuple[str, ...]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(key[::2], key[1::2], strict=True))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
