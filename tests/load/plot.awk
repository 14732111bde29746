# samples.csv as an SVG: panels over one time axis. -v title=, -v checkpoints=SECONDS (between two)
BEGIN {
    FS = ","
    panels = 5
    panel("file descriptors", "count", 1)
    line("host_fds", "/proc on the host", "#f3c08a", 5)
    line("fds", "agent's count", "#1f5fa8", 1.4)
    panel("threads", "count", 1)
    line("threads", "threads", "#1f5fa8", 1.4)
    panel("connections to the daemon", "count", 1)
    line("connections", "open", "#1f5fa8", 1.4)
    line("active", "active", "#2e8b57", 1.4)
    line("idle", "idle", "#d9822b", 1.4)
    panel("resident memory", "MiB", 1048576)
    line("rss_bytes", "resident", "#1f5fa8", 1.4)
    panel("captured lines", "lines/s", 1)
    line("lines", "lines per second", "#1f5fa8", 1.4)
    rate["lines"] = 1
    left = 66; right = 20; top = 46; height = 120; gap = 38; width = 760
}
function panel(name, unit, scale) {
    names[++made] = name
    units[made] = unit
    scales[made] = scale
}
function line(column, label, colour, thick) {
    n = ++lines[made]
    columns[made, n] = column
    labels[made, n] = label
    colours[made, n] = colour
    thicks[made, n] = thick
}
NR == 1 {
    for (i = 1; i <= NF; i++)
        place[$i] = i
    next
}
{
    time[++rows] = $1
    for (name in place) {
        i = place[name]
        cell[rows, name] = $i
    }
    if (rows == 1 || $1 < first)
        first = $1
    if (rows == 1 || $1 > last)
        last = $1
}
# What is drawn of a row; "" where nothing was measured.
function value(row, column, scale,    before) {
    if (cell[row, column] == "")
        return ""
    if (!(column in rate))
        return cell[row, column] / scale
    before = row - 1
    while (before > 1 && time[row] - time[before] < 1)
        before--
    if (before < 1 || cell[before, column] == "" || cell[row, column] < cell[before, column])
        return ""
    return (cell[row, column] - cell[before, column]) / (time[row] - time[before]) / scale
}
# A step of 1, 2 or 5 times a power of ten that divides the span into at most so many.
function step(span, most,    power, s) {
    power = 1
    while (power * most < span)
        power *= 10
    while (power / 10 * most >= span)
        power /= 10
    s = power
    if (power / 5 * most >= span)
        s = power / 5
    else if (power / 2 * most >= span)
        s = power / 2
    return s
}
function text(x, y, anchor, class, words) {
    gsub(/&/, "\\&amp;", words)
    gsub(/</, "\\&lt;", words)
    printf "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" class=\"%s\">%s</text>\n", x, y, anchor, class, words
}
function rule(x1, y1, x2, y2, class) {
    printf "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>\n", x1, y1, x2, y2, class
}
function place_x(seconds) { return left + (seconds - first) / (last - first) * width }
function place_y(v) { return bottom - (v - low) / (high - low) * height }
function limits(p,    n, row, v, none, s) {
    none = 1
    for (n = 1; n <= lines[p]; n++)
        for (row = 1; row <= rows; row++) {
            v = value(row, columns[p, n], scales[p])
            if (v == "")
                continue
            if (none || v < low)
                low = v
            if (none || v > high)
                high = v
            none = 0
        }
    if (none)
        low = high = 0
    if (low > 0 && (low < high / 1.5 || high < 10))
        low = 0
    s = step(high - low > 0 ? high - low : 1, 4)
    if (s < 1 && scales[p] == 1)
        s = 1
    tick = s
    low = int(low / s) * s
    high = (int(high / s) + 1) * s
}
# A line breaks where nothing was measured.
function draw(p, n,    row, v, open) {
    printf "<path fill=\"none\" stroke=\"%s\" stroke-width=\"%s\" d=\"", colours[p, n], thicks[p, n]
    for (row = 1; row <= rows; row++) {
        v = value(row, columns[p, n], scales[p])
        if (v == "") {
            open = 0
            continue
        }
        printf "%s%.1f %.1f", open ? "L" : "M", place_x(time[row]), place_y(v)
        open = 1
    }
    print "\"/>"
}
function draw_panel(p,    n, v, x, s) {
    bottom = top + p * height + (p - 1) * gap
    limits(p)
    if (first < 0)
        printf "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" class=\"warm\"/>\n", left, \
            bottom - height, place_x(0) - left, height
    for (v = low; v <= high + tick / 2; v += tick) {
        rule(left, place_y(v), left + width, place_y(v), "grid")
        text(left - 6, place_y(v) + 4, "end", "number", sprintf("%.6g", v))
    }
    for (s = 0; checkpoints > 0 && s <= last + 0.5; s += checkpoints)
        rule(place_x(s < last ? s : last), bottom - height, place_x(s < last ? s : last), bottom, "mark")
    for (n = 1; n <= lines[p]; n++)
        draw(p, n)
    rule(left, bottom, left + width, bottom, "axis")
    rule(left, bottom - height, left, bottom, "axis")
    text(left, bottom - height - 7, "start", "name", names[p] ", " units[p])
    x = left + width
    for (n = lines[p]; n >= 1 && lines[p] > 1; n--) {
        text(x, bottom - height - 7, "end", "label\" style=\"fill:" colours[p, n], labels[p, n])
        x -= length(labels[p, n]) * 6.2 + 16
    }
}
END {
    if (rows < 2) {
        print "plot: fewer than two samples" >"/dev/stderr"
        exit 1
    }
    total = top + panels * height + (panels - 1) * gap + 50
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\">\n", \
        left + width + right, total, left + width + right, total
    print "<style>text{font:12px sans-serif;fill:#333}.name{font-weight:bold}.number{font-size:11px}" \
        ".label{font-size:11px}.title{font-size:14px;font-weight:bold}" \
        ".grid{stroke:#e3e3e3}.mark{stroke:#c9c9d9;stroke-dasharray:2 3}.axis{stroke:#555}.warm{fill:#f3f0e6}</style>"
    print "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>"
    text(left, 18, "start", "title", title)
    for (p = 1; p <= panels; p++)
        draw_panel(p)
    minutes = step((last - first) / 60, 15)
    for (n = -int(-first / 60 / minutes); n * minutes * 60 <= last + 0.5; n++) {
        m = n * minutes
        rule(place_x(m * 60), bottom, place_x(m * 60), bottom + 4, "axis")
        text(place_x(m * 60), bottom + 17, "middle", "number", sprintf("%.4g", m))
    }
    text(left + width / 2, bottom + 36, "middle", "name", "minutes" (first < 0 ? " (shaded: warm-up)" : "") "; dotted: checkpoints")
    print "</svg>"
}
