"""`report.html`: what a run of `glip eval` found, in one file to look at.

pages.py    the two kinds of page: of one evaluation, and of tables
sections.py what each part says in words
charts.py, calibration.py, confusion.py, tables.py, images.py, drawing.py   the parts
html.py     text that is escaped, and the frame: report.html, report.css, report.js
"""
