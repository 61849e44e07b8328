"""The pages that a browser shows: templates, style sheets and scripts, as files.

``static/`` has rooms as well; their imports point downwards::

    shell                      the page itself: puts the parts together, address, keyboard, theme
    overview | tasks | detail  states, functions, pools, health | the list | the panel of one task
    server | core              requests and the live stream | elements, icons, formats, times, notices

``styles/`` holds the style sheets.
"""
