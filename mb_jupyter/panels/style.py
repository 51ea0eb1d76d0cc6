"""Rules of style: what of a view is seen when, and what core widgets lack on a narrow or a dark page."""

from __future__ import annotations

SUMMARY = (
    "<style>"
    ".jp-OutputArea:has(.mb-panel:not(.jupyter-widgets-disconnected)) > .jp-OutputArea-child:has(.mb-summary)"
    "{display:none}"
    # JupyterLab's own word for widgets that are gone: text directly in the output, no element
    ".jp-OutputArea:has(.mb-summary) > .jp-OutputArea-child > .jp-OutputArea-output.jupyter-widgets:not(:has(*)),"
    ".mb-panel.jupyter-widgets-disconnected{display:none}"
    "</style>"
)
"""Stays in the notebook, with the summary."""

# an arrow that is seen on a light and on a dark field; JupyterLab's is black on both
ARROW = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 18 18'%3E"
    "%3Cpath d='M5 7l4 4 4-4' fill='none' stroke='%23888' stroke-width='2'/%3E%3C/svg%3E"
)

PANEL = (
    "<style>"
    # what is wider than the page scrolls by itself, as it does in an output
    ".mb-panel .widget-html-content{min-width:0;line-height:1.45}"
    # where the keyboard is; some widgets show it by a shade of their border only, tabs not at all
    ".mb-panel :is(button,input,select,textarea,summary,a,[tabindex]):focus-visible"
    "{outline:2px solid var(--jp-brand-color1,var(--vscode-focusBorder,#1976d2))!important;outline-offset:1px}"
    # the button that only JupyterLab and Notebook obey
    ".mb-insert:not(.jp-Notebook *){display:none}"
    # a part that folds
    ".mb-fold:not(:has(> .mb-html details[open])) > :not(.mb-html:first-child){display:none!important}"
    # tabs; JupyterLab writes those that are not in front too faintly
    ".mb-panel .lm-TabBar .lm-TabBar-tab"
    "{color:var(--jp-ui-font-color1,var(--vscode-foreground,inherit))!important}"
    ".mb-steps > .lm-TabBar .lm-TabBar-tab.lm-mod-current{font-weight:600}"
    # the lines of a choice wrap, beside its name
    ".mb-panel .widget-radio{display:flex;align-items:baseline}"
    ".mb-panel .widget-radio > .widget-label{flex:none;text-align:right;margin-right:8px}"
    ".mb-panel .widget-radio-box{min-width:0;margin-bottom:0!important}"
    ".mb-panel .widget-radio-box label{display:flex;flex-direction:row-reverse;justify-content:flex-end;"
    "align-items:baseline;height:auto;line-height:1.45;margin:3px 0}"
    ".mb-panel .widget-radio-box input{flex:none;float:none;height:auto;margin:0 8px 0 1px}"
    ".mb-panel .widget-checkbox label{display:flex;align-items:center}"
    f'.mb-panel .widget-dropdown > select{{background-image:url("{ARROW}")}}'
    "</style>"
)
"""Goes with the widgets."""
