"""`report.html`: what a run of `glip eval` or `glip finetune` found, in one file that fetches nothing.

page.py      a page from its sections, by the jinja2 templates in templates/
sections.py  the sections of one evaluation
charts.py    curves, by matplotlib
examples.py  images with their boxes
"""
