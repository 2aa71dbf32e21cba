"""`dvc plots` without a network: a page that carries its scripts instead of asking a server for them."""

from pathlib import Path

from hybridvae.files import write_text

# DVC puts its plots where {plot_divs} is. Its own scripts, three addresses on the web, would go where {scripts} is.
# A chart of `template: hidden`, and one of a file that no revision has, would take the place of one.
_EMBED = """window.vegaEmbed = (where, spec) =>
  spec.data && !spec.usermeta?.hidden ? vegaEmbed(where, spec) : document.querySelector(where).remove();"""
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>HybridVAE, experiments compared</title>
{refresh_tag}
<script>%s</script>
<style>
body { font-family: sans-serif; margin: 1.5rem; background: #fff; color: #222 }
body > div { display: inline-block; margin: 0 1.5rem 1.5rem 0; vertical-align: top }
</style>
</head>
<body>
{plot_divs}
</body>
</html>
"""


def write_page(path: Path) -> None:
    """Write the template for DVC's `plots.html_template`, with Vega, Vega-Lite and Vega-Embed inside it (0.9 MB).

    The scripts are those of the package vl-convert-python, in the newest version of the major one that DVC writes for.
    """
    import vl_convert

    versions = vl_convert.get_vegalite_versions()
    written_for = [version for version in versions if version.startswith("5.")]
    write_text(
        path,
        _PAGE % vl_convert.javascript_bundle(_EMBED, vl_version=(written_for or versions)[-1]),
    )
