/**
 * What is said in the demonstration world. A line is `who: text`; `who > other: text` answers the last thing that other said;
 * `⇒` parts what was written first from what an edit made of it; a line that ends with ✂ is deleted after it was sent.
 */
export type Conversation = {
  /** A room, made by the first of its people; without it, a direct chat of two. */
  room?: { name: string; description: string; isPublic: boolean };
  people: string[];
  /** How many of the last messages someone has not read, all of them from others; who is not named has read all. */
  unread?: Record<string, number>;
  lines: string;
};

export const conversations: Conversation[] = [
  {
    room: { name: 'Square', description: 'Where everyone meets. Any language.', isPublic: true },
    people: [
      'alice',
      'bob',
      'carol',
      'dmitry',
      'elena',
      'farid',
      'mei',
      'hiroshi',
      'ines',
      'javier',
      'katrin',
      'leyla',
    ],
    unread: { javier: 9, mei: 3, hiroshi: 2 },
    lines: `
      alice: Good morning, everyone! This is the square: say hello, ask anything, in any language.
      bob: Morning from Hamburg. It rains, of course.
      dmitry: Всем привет! В Алматы солнце и плюс двадцать.
      elena: Доброе утро, коллеги. Кто сегодня на планёрке?
      leyla > elena: Я буду. Начинаем в десять по Астане.
      mei: 大家好！我在深圳，今天去工厂看样品。
      hiroshi: おはようございます。大阪の田中です。
      alice > hiroshi: Welcome, Hiroshi! How is Osaka?
      hiroshi: 少し寒いですが、元気です。
      ines: Bom dia a todos! Aqui no Porto já cheira a café.
      javier: Buenos días. El puerto de Valencia está lleno de barcos hoy.
      katrin: Guten Morgen! Wer hat die Rechnung vom Dienstag gesehen?
      bob > katrin: Die liegt bei mir, ich schicke sie dir gleich.
      katrin > bob: Danke, du bist der Beste.
      farid: Salom! I am new here. Who do I ask about suppliers?
      alice > farid: Me! And have a look at the room Suppliers, it is public.
      carol: The new order form is live. Please break it before our customers do.
      bob > carol: I broke it. The date field accepts the 31st of Febuary. ⇒ I broke it. The date field accepts the 31st of February.
      carol > bob: Wonderful, thank you. Fixed in an hour.
      dmitry > carol: А кириллица в названиях работает?
      carol > dmitry: Yes: names take any script, I tried Kazakh and Chinese too.
      mei > carol: 谢谢！中文也没有问题。
      leyla: Коллеги, напоминаю: отпуск на май нужно согласовать до пятницы.
      elena > leyla: Спасибо, что напомнили. Уже записала.
      javier: ¿Alguien sabe cuándo llega el contenedor de Shenzhen?
      mei > javier: 船明天早上离港，大约二十八天到。
      javier > mei: Perfecto, muchas gracias.
      bob: test test ✂
      alice: Lunch question of the day: what do you eat where you are?
      dmitry > alice: Бешбармак, конечно.
      elena: А я сегодня с салатом, у меня дедлайн.
      ines > alice: Francesinha. Depois preciso de dormir.
      hiroshi > alice: たこ焼きです。
      mei > alice: 肠粉，非常好吃。
      katrin > alice: Kartoffelsuppe, wie jeden Dienstag.
      farid > alice: Plov. Always plov.
      javier > alice: Paella no, hoy es martes. Lentejas.
      bob > farid: Recipe, please!
      farid > bob: Rice, carrots, mutton, patience. I will write it down for you.
      carol: I have learned more about food here than about procurement.
      alice > carol: That is the plan.
      leyla: Новичкам: правила комнаты простые — быть вежливыми и не бояться вопросов.
      dmitry: База обновлена, поиск теперь находит и части слов.
      elena > dmitry: Проверила: «договор» находит «договорами». Красота.
      bob: Does it find German compounds too?
      dmitry > bob: Parts of words, yes: "rechnung" finds "Rechnungsnummer".
      katrin > dmitry: Rechnungsnummernvergabe. Gefunden! Ich bin beeindruckt.
      mei: 搜索“样品”也能找到。
      hiroshi: 日本語の検索もできました。
      alice: See you tomorrow, everyone. Thank you for a good first day!
      farid: Xayr, see you!
    `,
  },
  {
    room: { name: 'Suppliers', description: 'Offers, samples, prices, who delivers and who promises.', isPublic: true },
    people: ['alice', 'farid', 'mei', 'elena', 'javier', 'ines'],
    unread: { elena: 3, ines: 5 },
    lines: `
      alice: We need offers for 12,000 cotton bags by the end of the month. Who has a contact?
      ines > alice: Conheço uma fábrica em Guimarães. Algodão orgânico, certificado.
      farid: There is a mill near Fergana. Good cotton, slow papers.
      mei: 我们深圳的供应商也可以做，最低起订量五千个。
      alice > mei: What would the price be, with one-colour print?
      mei > alice: 含印刷每个零点六八美元，离岸价。
      ines > alice: Na minha fábrica são 0,92 €, mas com entrega em duas semanas.
      farid > alice: 0.55 dollars, five weeks, and the papers are my problem.
      elena: Для договора нужны реквизиты и сертификаты от всех трёх.
      farid > elena: Сертификаты пришлю завтра, реквизиты уже у вас в почте.
      elena > farid: Вижу, спасибо. В реквизитах не хватает БИК.
      farid > elena: Добавил: смотрите второе письмо.
      javier: De China hay que contar el arancel: doce por ciento para bolsas de algodón.
      mei > javier: 明白，我会把关税算进去。
      alice > javier: And from Uzbekistan?
      javier > alice: Con el certificado de origen, cero. Pero el certificado tarda.
      farid > javier: Two weeks. I know the office, I know the lady.
      alice: Samples first. Please send three bags each to Lyon.
      ines > alice: Enviadas hoje por correio expresso.
      mei: 样品今天寄出，单号晚一点发。
      farid: Mine are on a bus to Tashkent. From there by courier.
      alice > farid: On a bus?
      farid > alice: The bus is faster than the post. Trust me.
      elena: Срок в договоре ставлю тридцать календарных дней, без исключений.
      javier: Recomiendo Incoterms FCA y no EXW, así nos evitamos sorpresas.
      alice > javier: Agreed, FCA for all three.
      mei: 好的，FCA深圳。
      ines: FCA Guimarães, perfeito.
      farid: FCA Fergana. First time, but why not.
      alice: The Portuguese samples have arrived: beautifull seams. ⇒ The Portuguese samples have arrived: beautiful seams.
      ines > alice: Fico muito contente!
      alice: The Chinese ones as well. The print is sharper than ours.
      mei > alice: 谢谢，我们换了新的印刷机。
      farid: And the bus?
      alice > farid: The bus won. Your bags came first, I just had not opened them. They smell of melons.
      farid > alice: It is the season.
      elena: Итог: две партии, Португалия срочная, Узбекистан основная. Готовлю договоры.
      javier: Preparo los papeles de importación.
      alice: Mei, we keep you for the printed folders in autumn.
      mei > alice: 没问题，秋天见。
    `,
  },
  {
    room: { name: 'Склад', description: 'Остатки, отгрузки, машины. Только для своих.', isPublic: false },
    people: ['dmitry', 'elena', 'leyla', 'farid', 'bob'],
    unread: { bob: 3, farid: 6 },
    lines: `
      dmitry: Остатки на утро: мешков 1 240, поддонов 86, плёнки на два дня.
      elena: Плёнку заказали ещё в понедельник. Где она?
      dmitry > elena: Машина стоит на весах в Капчагае, обещают к обеду.
      leyla: Если не приедет, у нас на соседнем складе есть двадцать рулонов.
      dmitry > leyla: Спасибо, запомню.
      farid: Груз из Ферганы прошёл таможню, завтра будет у вас.
      dmitry > farid: Отлично. Сколько мест?
      farid > dmitry: Сорок два места, восемьсот девять килограммов.
      dmitry: Приму в третий бокс.
      elena: Не забудьте акт приёмки, без него бухгалтерия не проведёт.
      dmitry > elena: Акт готов, подпишу при разгрузке.
      bob: I read along with a dictionary. Is the forklift repaired?
      dmitry > bob: Yes, the forklift works again. New battery.
      bob > dmitry: Great. Then Thursday stays as planned.
      leyla: Новый кладовщик выходит в среду, зовут Арман. Покажите ему программу.
      dmitry > leyla: Покажу. Пусть придёт к девяти.
      elena: Инвентаризация в пятницу, начинаем в восемь.
      dmitry: Опять в пятницу?
      elena > dmitry: Опять. Зато с пирогами.
      leyla: Пироги беру на себя: с капустой и с яблоками.
      dmitry > leyla: Тогда вопросов нет.
      farid: Кто принимает рулоны после шести?
      dmitry > farid: Ночная смена, телефон на воротах.
      dmitry: код от ворот 4412 ✂
      elena > dmitry: Дмитрий, коды сюда не пишем!
      dmitry: Понял, удалил.
      dmitry: Плёнка приехала, сорок рулонов. ⇒ Плёнка приехала, тридцать восемь рулонов, два рваных.
      elena > dmitry: Составьте рекламацию, я отправлю поставщику.
      dmitry: Готово, фото приложил.
      leyla: Арман спрашивает, где висит схема склада.
      dmitry > leyla: У весов, слева. И в программе, раздел «Карта».
      bob: Truck 17 leaves Hamburg tonight, five pallets for you.
      dmitry > bob: Ждём. Освобожу пятый бокс.
      elena: Инвентаризация закончена: расхождений нет!
      leyla: Ура! Пироги тоже закончились.
    `,
  },
  {
    room: { name: 'Design', description: 'Screens, words and complaints about both.', isPublic: false },
    people: ['carol', 'alice', 'katrin', 'hiroshi'],
    unread: { hiroshi: 2, katrin: 4 },
    lines: `
      carol: Here is the new list of contracts. The total stays in sight while one scrolls.
      alice > carol: Lovely. Can the overdue ones come first?
      carol > alice: They do, when you sort by state. I could make that the default.
      katrin: Bei den Beträgen bitte immer zwei Nachkommastellen, auch bei null.
      carol > katrin: Noted: 0.00 it is.
      hiroshi: 日付の形式は年月日にしていただけますか。
      carol > hiroshi: Dates follow the language of the reader: 2026年11月21日 for you.
      hiroshi > carol: ありがとうございます。とても見やすいです。
      alice: The word "terminate" frightens our suppliers. Could it be "end"?
      carol > alice: "End the contract". Gladly. Shorter, too.
      katrin: Und im Deutschen "beenden" statt "kündigen"?
      carol > katrin: What would a lawyer say?
      katrin > carol: Der Anwalt sagt: kündigen ist kündigen. Also doch kündigen.
      carol: Then German keeps its word, and English gets "end".
      alice: The green button is green for me, but my brother cannot tell it from the red one.
      carol > alice: Good catch. They get a sign each, and colours of different brightness.
      hiroshi: アイコンがあると分かりやすいですね。
      carol: New draft is up. Colour is no longer the only diffrence. ⇒ New draft is up. Colour is no longer the only difference.
      alice > carol: My brother says thank you.
      katrin: Die Druckansicht schneidet die letzte Spalte ab.
      carol > katrin: On A4? Which browser?
      katrin > carol: Firefox, A4, quer.
      carol: Found it. A table of eleven columns and a margin from 1996.
      hiroshi: 印刷も確認しました。問題ありません。
      carol: Then it goes live on Monday.
      alice: Perfect. Thank you all.
    `,
  },
  {
    room: { name: 'Книги и кино', description: 'Что читаем и смотрим. Books and films, any language.', isPublic: true },
    people: ['leyla', 'elena', 'ines', 'bob', 'mei', 'katrin'],
    unread: { mei: 1, elena: 4 },
    lines: `
      leyla: Что сейчас читаете? Я перечитываю «Мастера и Маргариту».
      elena > leyla: Ауэзова, «Путь Абая». Медленно, но с удовольствием.
      bob: The Box, by Marc Levinson: how the container changed the world. Logistics people cry at the end.
      ines > bob: Quero ler! Eu estou com o Saramago, Ensaio sobre a Cegueira.
      katrin: Kehlmann, Die Vermessung der Welt. Zum dritten Mal.
      mei: 我在读《三体》，已经到第三部了。
      leyla > mei: Читала по-русски, не могла оторваться!
      bob > mei: The second one is my favourite. The dark forest, brr.
      mei > bob: 第二部最好，我同意。
      elena: А кино? Посоветуйте что-нибудь на выходные.
      ines > elena: Central do Brasil. Leva lenços.
      katrin > elena: Das Leben der Anderen. Auch Taschentücher.
      bob: Paddington 2. Handkerchiefs as well, honestly.
      leyla: Тогда у нас выходные слёз.
      elena > bob: Посмотрела «Паддингтона» с детьми. Плакали все.
      bob > elena: I told you.
      mei: 周末看了《重庆森林》，第三次。
      ines > mei: Adoro esse filme! A música fica na cabeça.
      leyla: Предлагаю раз в месяц читать одну книгу вместе.
      katrin > leyla: Gerne, aber bitte unter fünfhundert Seiten.
      bob: The first one short, please. I read at the pace of a goods train.
      leyla: Тогда «Старик и море», есть на всех наших языках.
      mei: 《老人与海》，好主意。
      ines: Combinado!
    `,
  },
  {
    people: ['alice', 'bob'],
    unread: { alice: 3 },
    lines: `
      alice: Hi Bob, do you have ten minutes for the Hamburg contract?
      bob: For you, fifteen.
      alice: Clause 7 says delivery within 30 days, the annex says 45.
      bob: The annex is right, the ferry needs its time.
      alice > bob: Then I change the clause. Anything else?
      bob: The penalty. Two percent a day is a lot for a storm.
      alice: Agreed: half a percent, five at most.
      bob: You are a reasonable woman.
      alice: Tell that to my brother.
      bob: I need the final PDF by Tursday. ⇒ I need the final PDF by Thursday.
      alice: You will have it on Wednesday.
      bob: Wednesday is better than Thursday.
      bob: And the train pictures you asked for are in your mail.
      bob: All forty of them.
    `,
  },
  {
    people: ['dmitry', 'elena'],
    unread: { dmitry: 1 },
    lines: `
      elena: Дмитрий, добрый день. Когда сможете подписать акты за октябрь?
      dmitry: Добрый! Сегодня после обеда, если они у вас в электронном виде.
      elena: Да, отправила через систему. Их три.
      dmitry: Вижу два.
      elena > dmitry: Третий ушёл только что, проверьте.
      dmitry: Теперь три. В последнем сумма без НДС?
      elena: С НДС, строка внизу.
      dmitry: Нашёл. Подписал все.
      elena: Спасибо! Вы сегодня самый быстрый.
      dmitry: Это потому что плёнка приехала.
      elena: Тогда желаю вам плёнки каждый день.
    `,
  },
  {
    people: ['mei', 'alice'],
    unread: { alice: 2 },
    lines: `
      mei: Hello Alice, the factory asks which blue you want for the folders.
      alice: The blue of our logo, Pantone 286.
      mei: 好的。他们说286没有问题。
      alice > mei: I had to translate that, but I understood "no problem".
      mei: Sorry! I switch without noticing.
      alice: Please don't stop. I am learning: 谢谢!
      mei: 不客气！Your first word.
      alice: What comes second?
      mei: 样品 — sample. You will need it every week.
      mei: The folders ship in the first week of September.
    `,
  },
  {
    people: ['javier', 'ines'],
    lines: `
      javier: Hola Inês, ¿me entiendes si escribo en español?
      ines: Claro! E tu, se eu escrever em português?
      javier: Perfectamente. Necesito la factura comercial de las bolsas.
      ines: Envio ainda hoje. Precisas também da lista de volumes?
      javier > ines: Sí, por favor, y el peso bruto de cada bulto.
      ines: São vinte e quatro volumes, trezentos e doze quilos no total.
      javier: Estupendo. El despacho será el jueves por la mañana.
      ines: Obrigada, Javier. És um anjo.
      javier: De nada. Nos vemos en Oporto algún día.
      ines: Quando quiseres. A francesinha é por minha conta.
    `,
  },
  {
    people: ['katrin', 'bob'],
    unread: { katrin: 1 },
    lines: `
      katrin: Bob, die Rechnung vom Dienstag ist da. Aber sie ist vom Montag.
      bob: Sie wurde am Montag geschrieben und am Dienstag gedacht.
      katrin: Das Finanzamt liebt solche Sätze.
      bob: Soll ich sie neu ausstellen lassen?
      katrin: Ja bitte, mit Leistungsdatum und der richtigen Umsatzsteuernummer.
      bob: Ist unterwegs. Kaffee als Entschädigung?
      katrin: Immer.
      bob: Donnerstag um drei, am Bahnhof. Ich bringe Sauerteigbrot mit.
    `,
  },
  {
    people: ['leyla', 'farid'],
    unread: { farid: 2 },
    lines: `
      leyla: Фарид, добро пожаловать! Как вам первые дни?
      farid: Спасибо, хорошо. Только много комнат.
      leyla: Начните с «Square» и «Suppliers», остальное потом.
      farid: Так и сделаю. А где посмотреть старые договоры?
      leyla > farid: В разделе договоров, фильтр «закрытые». Доступ я вам открыла.
      farid: Вижу. Спасибо!
      leyla: И заполните профиль, пожалуйста: фото и телефон для связи.
      leyla: Если что-то непонятно, пишите прямо сюда.
    `,
  },
];
