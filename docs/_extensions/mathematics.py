"""Formulas as MathML, as on the pages of reports: browsers typeset them without a script, a font or the network.

A formula that the converter cannot read is a warning, which the build turns into an error.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

from gpn.report.pages.mathml import mathml

logger = logging.getLogger(__name__)


def _html(node: nodes.Element, display: bool) -> str:
    try:
        return mathml(node.astext(), display)
    except ValueError as error:
        logger.warning("formula %r cannot be typeset: %s", node.astext(), error, location=node)
        return f"<code>{nodes.literal('', node.astext()).astext()}</code>"


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(_html(node, display=False))
    raise nodes.SkipNode


def _block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="formula" tabindex="0">{_html(node, display=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer under the name `mathml`."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    app.config.html_math_renderer = "mathml"
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
